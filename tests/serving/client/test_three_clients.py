"""One interface: the same calls with the same answers over gRPC, asyncio and REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serving.client import ClassScore, RequestFailed, TensorInfo, VersionStatus, encode_examples
from tfx_pipeline.errors import DataError, ServingError

ROWS = [
    {"fare": 10.0, "miles": 1.5, "hour": 3, "company": "Blue"},
    {"fare": 4.0, "miles": None, "hour": None, "company": ""},
]
SCORES = [[21.5], [7.0]]


def test_rows_as_dicts_frames_and_examples(any_client: Any) -> None:
    frame = pd.DataFrame(ROWS)  # hour is a column of floats now, for it lacks one
    kinds = {"hour": "int"}
    forms = [ROWS, iter(ROWS), frame, encode_examples(ROWS), {"examples": encode_examples(ROWS)}]
    for rows in [*forms, np.array(encode_examples(ROWS), dtype=object)]:
        answer = any_client.predict("taxi", rows, kinds=kinds)
        assert answer["score"].tolist() == SCORES
        assert answer["score"].dtype == np.float32
        assert answer["hour"].tolist() == [3, -1]
        assert answer["hour"].dtype == np.int64
        assert answer["company"].tolist() == [b"Blue", b"none"]


def test_arrays(any_client: Any) -> None:
    x = np.arange(6.0).reshape(2, 3)  # float64, which the model does not take
    for rows in (x, x.tolist(), {"x": x}, [{"x": row} for row in x.tolist()]):
        answer = any_client.predict("taxi", rows, signature_name="dense", label="stable")
        assert answer["y"].tolist() == [[6.0], [24.0]]
        assert answer["text"][1, 2] == b"5.000000"
    frame = pd.DataFrame({"x": [[0.0, 1], [2, 3]], "word": ["a", "é"], "more": [0, 0]})
    answer = any_client.predict("kinds", frame[["x", "word"]], signature_name="two")
    assert answer["doubled"].tolist() == [[0, 2], [4, 6]]
    assert answer["word_bytes"].tolist() == [b"a", "é".encode()]


def test_scalars_and_bytes_that_are_no_text(any_client: Any) -> None:
    rows = {"word": b"a\xff\0", "numbers": [1, 2]}
    signature = "scalars"
    if "http" in any_client.address:  # as in TensorFlow Serving, only `..._bytes` are base64
        rows["word"] = b"a"
    answer = any_client.predict("taxi", rows, signature_name=signature)
    assert answer["echo"].item() == rows["word"] + b"\0"
    assert answer["total"].item() == 3


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float", np.array([[1.5, -np.inf], [np.nan, 3e38]], np.float32)),
        ("double", np.array([1e300, 0.1])),
        ("half", np.array([0.5, 65504], np.float16)),
        ("int8", np.array([-128, 127], np.int8)),
        ("uint8", np.array([[0], [255]], np.uint8)),
        ("int16", np.array([-32768, 32767], np.int16)),
        ("int32", np.array(-(2**31), np.int32)),
        ("int64", np.array([2**63 - 1, -(2**63)], np.int64)),
        ("uint16", np.array([65535], np.uint16)),
        ("uint32", np.array([2**32 - 1], np.uint32)),
        ("uint64", np.array([2**64 - 1], np.uint64)),
        ("bool", np.array([[True], [False]])),
        ("string", np.array([b"a", b"b"], dtype=object)),
    ],
)
def test_every_dtype_there_and_back(any_client: Any, dtype: str, values: np.ndarray) -> None:
    answer = any_client.predict("kinds", {"x": values}, signature_name=dtype)
    np.testing.assert_array_equal(answer["y"], values)
    assert answer["y"].dtype == values.dtype


def test_classify_and_regress(any_client: Any) -> None:
    rows = [{"x": 0.25}, {"x": 1.0}, {}]
    low, high = "low", "high"
    for batch_size in (1024, 1):
        classes = any_client.classify(
            "kinds", rows, signature_name="classify", batch_size=batch_size
        )
        assert classes == [
            [ClassScore(low, 0.75), ClassScore(high, 0.25)],
            [ClassScore(low, 0.0), ClassScore(high, 1.0)],
            [ClassScore(low, 0.5), ClassScore(high, 0.5)],
        ]
        values = any_client.regress("kinds", rows, signature_name="regress", batch_size=batch_size)
        assert values.tolist() == [0.125, 0.5, 0.25]
        assert values.dtype == np.float32


def test_large_inputs_go_in_batches(any_client: Any) -> None:
    rows = [{"fare": float(number), "miles": 0.0} for number in range(2500)]
    expected = [[2.0 * number] for number in range(2500)]
    assert any_client.predict("taxi", rows)["score"].tolist() == expected
    x = np.ones((7, 3), np.float32)
    answer = any_client.predict("taxi", x, signature_name="dense", batch_size=3)
    assert answer["y"].tolist() == [[6.0]] * 7
    with pytest.raises(DataError, match="word: a scalar"):
        any_client.predict(
            "taxi", {"word": "a", "numbers": [1, 2]}, signature_name="scalars", batch_size=1
        )


def test_status_metadata_signature(any_client: Any) -> None:
    assert any_client.status("taxi") == [VersionStatus(7, "AVAILABLE")]
    assert any_client.status("taxi", 7) == [VersionStatus(7, "AVAILABLE")]
    assert any_client.metadata("taxi")["dense"].inputs == {"x": TensorInfo("float", (None, 3))}
    assert any_client.signature("taxi", "dense", 7).outputs["y"] == TensorInfo("float", (None, 1))
    assert any_client.signature("kinds", "half").inputs["x"] == TensorInfo("half", None)
    with pytest.raises(DataError, match=r"the model has no signature dens\nDid you mean dense\?"):
        any_client.signature("taxi", "dens")
    with pytest.raises(RequestFailed, match="NOT_FOUND"):
        any_client.signature("absent")


def test_wait_ready(any_client: Any) -> None:
    any_client.wait_ready("taxi", 10)
    with pytest.raises(ServingError, match=r"model absent was not available within 0\.2 s"):
        any_client.wait_ready("absent", 0.2)


def test_errors_of_the_server(any_client: Any) -> None:
    with pytest.raises(RequestFailed) as caught:
        any_client.predict("taxy", ROWS)
    assert caught.value.code == "NOT_FOUND"
    if "http" in any_client.address:  # where models can be listed
        assert caught.value.hint == "Did you mean taxi? The server has: kinds, taxi."
    with pytest.raises(RequestFailed, match="NOT_FOUND"):
        any_client.predict("taxy", np.ones(3))  # and not that the array's input has no name
    with pytest.raises(RequestFailed) as caught:
        any_client.predict("taxi", ROWS, version=8)
    assert caught.value.code == "NOT_FOUND"
    assert caught.value.hint == "Versions: 7 (AVAILABLE)."
    with pytest.raises(RequestFailed) as caught:
        any_client.predict("taxi", ROWS, signature_name="serving_defaul")
    assert '"serving_defaul" not found' in caught.value.message
    assert caught.value.hint.startswith("Did you mean serving_default? The model has: dense, ")


def test_unchecked_inputs_are_the_servers_matter(connect: Callable[..., Any]) -> None:
    client = connect(check_inputs=False)
    assert client.predict("taxi", ROWS)["score"].tolist() == SCORES
    with pytest.raises(RequestFailed) as caught:
        client.predict("taxi", {"z": [[1.0, 2, 3]]}, signature_name="dense")
    assert caught.value.code == "INVALID_ARGUMENT"
    with pytest.raises(DataError, match="an array needs its input's name"):
        client.predict("taxi", np.ones((1, 3)), signature_name="dense")


def test_models(any_client: Any) -> None:
    if "http" in any_client.address:
        assert any_client.models() == {
            "taxi": [VersionStatus(7, "AVAILABLE")],
            "kinds": [VersionStatus(1, "AVAILABLE")],
        }
    else:
        with pytest.raises(RequestFailed, match="list no models"):
            any_client.models()
