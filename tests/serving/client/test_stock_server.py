"""Our client against a server built with the stock `tensorflow-serving-api`. (The other way round,
stock stubs against our server, is in test_predict.py.)"""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from serving.client import ClassScore, Client, RequestFailed, TensorInfo, VersionStatus
from tfx_pipeline.errors import DataError


def _kinds_of(seen: list[Any]) -> list[str]:
    return [type(request).__name__ for request in seen]


def test_predict_and_the_signature_is_fetched_once(stock: Any, stock_client: Client) -> None:
    for _ in range(2):
        answer = stock_client.predict("double", [1.0, 2.5])
        assert answer["y"].tolist() == [2.0, 5.0]
        assert answer["constant"].tolist() == [[1.0, 2.0]]
    assert _kinds_of(stock.seen) == ["GetModelMetadataRequest", "PredictRequest", "PredictRequest"]
    request = stock.seen[1]
    assert isinstance(request, predict_pb2.PredictRequest)
    assert request.model_spec.signature_name == "serving_default"
    assert not request.model_spec.HasField("version")
    assert isinstance(stock.seen[0], get_model_metadata_pb2.GetModelMetadataRequest)


def test_the_other_methods(stock: Any, stock_client: Client) -> None:
    assert stock_client.status("double") == [
        VersionStatus(3, "AVAILABLE"),
        VersionStatus(4, "END", "no saved_model.pb"),
    ]
    rows = [{"x": 0.25}, {"x": 0.75}]
    assert stock_client.classify("double", rows) == [
        [ClassScore("small", 0.75), ClassScore("large", 0.25)],
        [ClassScore("small", 0.25), ClassScore("large", 0.75)],
    ]
    assert stock_client.regress("double", rows, batch_size=1).tolist() == [0.5, 1.5]
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(2.0)
    assert stock_client.regress("double", [example.SerializeToString()]).tolist() == [4.0]
    signature = stock_client.signature("double")
    assert signature.inputs["x"] == TensorInfo("float", (None,))
    assert signature.required == ["x"]  # scale has a default
    with pytest.raises(DataError, match="row 1: the bytes are no"):
        stock_client.classify("double", [b"\xff\xff"])


def test_version_label_and_headers(stock: Any, stock_client: Client) -> None:
    stock_client.predict("double", [1.0], version=3)
    stock_client.predict("double", [1.0], label="canary")
    specs = [request.model_spec for request in stock.seen]
    assert [spec.version.value for spec in specs] == [3, 3, 0, 0]
    assert [spec.version_label for spec in specs] == ["", "", "canary", "canary"]
    with Client(stock_client.address, headers={"Authorization": "Bearer x"}) as client:
        client.status("double")
    assert stock.metadata_sent[-1]["authorization"] == "Bearer x"


def test_batches_are_joined(stock: Any, stock_client: Client) -> None:
    x = np.arange(5, dtype=np.float32)
    answer = stock_client.predict("double", x, signature_name="calm", batch_size=2)
    assert answer["y"].tolist() == [0, 2, 4, 6, 8]
    assert answer["constant"].tolist() == [[1.0, 2.0]]  # the same in all answers
    assert _kinds_of(stock.seen).count("PredictRequest") == 3
    with pytest.raises(DataError, match="output rows cannot be joined"):
        stock_client.predict("double", x, batch_size=2)  # 2, 2, 1
    with pytest.raises(DataError, match="batch_size=0"):
        stock_client.predict("double", x, batch_size=0)


def test_a_new_version_with_another_signature(stock: Any, stock_client: Client) -> None:
    assert stock_client.predict("double", [1.5])["y"].dtype == np.float32
    stock.dtype = tf.float64  # a reload: what the client knows is outdated
    answer = stock_client.predict("double", [1.5])
    assert answer["y"].tolist() == [3.0]
    assert answer["y"].dtype == np.float64
    stock.dtype = tf.string  # what is wrong by the old signature may be right by the new
    assert stock_client.predict("double", {"x": ["a"]})["y"].tolist() == [b"aa"]


def test_a_server_that_tells_no_signature(stock: Any, stock_client: Client) -> None:
    stock.tells_metadata = False
    for _ in range(2):
        assert stock_client.predict("double", {"x": [1.0]})["y"].tolist() == [2.0]
    assert _kinds_of(stock.seen).count("GetModelMetadataRequest") == 1


def test_only_unavailable_is_tried_again(stock: Any, stock_client: Client) -> None:
    stock_client.signature("double")
    stock.seen.clear()
    stock.fail_with = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE]
    assert stock_client.predict("double", [1.0])["y"].tolist() == [2.0]
    assert len(stock.seen) == 3
    for code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL):
        stock.seen.clear()
        stock.fail_with = [code]
        with pytest.raises(RequestFailed) as caught:
            stock_client.predict("double", [1.0])
        assert caught.value.code == code.name
        assert len(stock.seen) == 1


def test_retries_end(stock: Any, stock_client: Client) -> None:
    stock_client.signature("double")
    stock.seen.clear()
    stock.fail_with = [grpc.StatusCode.UNAVAILABLE] * 9
    with pytest.raises(RequestFailed, match="UNAVAILABLE: told to fail"):
        stock_client.predict("double", [1.0])
    assert len(stock.seen) == 4
    stock.seen.clear()
    with Client(stock_client.address, timeout_s=0.04) as hurried, pytest.raises(RequestFailed):
        hurried.status("double")  # no pause fits into the deadline
    assert len(stock.seen) <= 1


def test_message_bounds(stock: Any, stock_client: Client) -> None:
    x = np.ones(10_000, np.float32)
    with Client(stock_client.address, max_message_bytes=20_000, keepalive_s=60) as client:
        with pytest.raises(RequestFailed) as caught:
            client.predict("double", x, signature_name="calm")
        assert caught.value.code == "RESOURCE_EXHAUSTED"
        assert "batch_size" in caught.value.hint
        answer = client.predict("double", x, signature_name="calm", batch_size=4000)
        assert answer["y"].sum() == 20_000
