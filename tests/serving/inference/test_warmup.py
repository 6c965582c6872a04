"""Warm-up: recorded requests are run on the version that brought them; bad ones fail its load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.server import warmup
from serving.server.saved_model import SavedModel
from serving.server.status import Code, RequestError
from serving.server.warmup import WARMUP_FILE, answer_with, warm_up


class Counting:
    """A model that counts the runs of each signature."""

    def __init__(self, model: SavedModel) -> None:
        self.signatures = model.signatures
        self.runs: list[str] = []
        self._model = model

    def run(self, signature: str, inputs: Any, outputs: Any) -> Any:
        self.runs.append(signature)
        return self._model.run(signature, inputs, outputs)

    def close(self) -> None: ...


@pytest.fixture
def version(tmp_path: Path) -> Callable[..., Path]:
    def write(*logs: PredictionLog | bytes) -> Path:
        file = tmp_path / WARMUP_FILE
        file.parent.mkdir()
        with tf.io.TFRecordWriter(str(file)) as writer:
            for log in logs:
                writer.write(log if isinstance(log, bytes) else log.SerializeToString())
        return tmp_path

    return write


def predict_log(*x: float) -> PredictionLog:
    log = PredictionLog()
    log.predict_log.request.model_spec.name = "any"
    log.predict_log.request.model_spec.version.value = 99
    log.predict_log.request.model_spec.signature_name = "picky"
    tensor = tf.make_tensor_proto(np.array(x, np.float32))
    log.predict_log.request.inputs["x"].CopyFrom(tensor)
    return log


def example_logs() -> list[PredictionLog]:
    classify, regress, multi = PredictionLog(), PredictionLog(), PredictionLog()
    classify.classify_log.request.input.example_list.examples.add()
    regress.regress_log.request.model_spec.signature_name = "half"
    regress.regress_log.request.input.example_list.examples.add()
    request = multi.multi_inference_log.request
    request.input.example_list.examples.add()
    for signature, method in (("only_scores", "classify"), ("column", "regress")):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "any", signature
    return [classify, regress, multi]


def test_no_file_no_warm_up(tmp_path: Path) -> None:
    assert warm_up(tmp_path, lambda log: pytest.fail("there is none")) == 0


def test_every_kind_of_record(examples_core: Any, version: Callable[..., Path]) -> None:
    model = Counting(examples_core.held)
    path = version(*example_logs())
    assert warm_up(path, answer_with(model), 2) == 3
    each = ["serving_default"] * 2 + ["half"] * 2 + ["only_scores", "column"] * 2
    assert model.runs == each


def test_predict_whatever_the_record_calls_the_model(
    numeric: SavedModel, version: Callable[..., Path]
) -> None:
    model = Counting(numeric)
    assert warm_up(version(predict_log(4.0), predict_log(9.0, 1.0)), answer_with(model)) == 2
    assert model.runs == ["picky", "picky"]


def test_other_records_are_left_out_with_a_note(
    numeric: SavedModel, version: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    session_run, streamed = PredictionLog(), PredictionLog()
    session_run.session_run_log.request.feed.add(name="x:0")
    streamed.predict_streamed_log.request.add().model_spec.name = "any"
    model = Counting(numeric)
    path = version(session_run, streamed, PredictionLog(), predict_log(1.0))
    assert warm_up(path, answer_with(model)) == 4
    assert model.runs == ["picky"]
    assert "left out, for it is a session_run_log" in caplog.text


def test_a_request_that_fails_fails_the_load(
    numeric: SavedModel, version: Callable[..., Path]
) -> None:
    with pytest.raises(RequestError, match="negative value") as caught:
        warm_up(version(predict_log(1.0), predict_log(-1.0)), answer_with(numeric))
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_a_record_that_is_no_prediction_log(
    numeric: SavedModel, version: Callable[..., Path]
) -> None:
    with pytest.raises(RequestError, match="Failed to parse warmup record: ") as caught:
        warm_up(version(b"\xff\xff\xff"), answer_with(numeric))
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("damage", ["text", "truncated", "flipped"])
def test_a_damaged_file(numeric: SavedModel, version: Callable[..., Path], damage: str) -> None:
    path = version(predict_log(1.0))
    file = path / WARMUP_FILE
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    damaged = {
        "text": b'{"inputs": [1]}',
        "truncated": file.read_bytes()[:-5],
        "flipped": bytes(content),
    }
    file.write_bytes(damaged[damage])
    with pytest.raises(RequestError) as caught:
        warm_up(path, answer_with(numeric))
    assert caught.value.code is Code.DATA_LOSS
    assert caught.value.message.endswith(". Please verify your warmup data is in TFRecord format.")


def test_too_many_records(version: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "MAX_RECORDS", 3)
    path = version(*[PredictionLog()] * 4)
    seen: list[PredictionLog] = []
    with pytest.raises(RequestError) as caught:
        warm_up(path, seen.append)
    assert len(seen) == 3
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == (
        f"Number of warmup records exceeds the maximum (3) at {path / WARMUP_FILE}"
    )
