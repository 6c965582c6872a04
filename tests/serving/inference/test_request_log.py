"""Request logs: what is in the files, rotation, and a disk that is full or slow."""

from __future__ import annotations

import itertools
import logging
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.apis.regression_pb2 import RegressionRequest
from tensorflow_serving.config.logging_config_pb2 import LoggingConfig
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.server import request_log
from serving.server.batch_threads import BatchThreads
from serving.server.batching import BatchedModel
from serving.server.batching_parameters import BatchingParameters
from serving.server.calls import Call, Handler
from serving.server.classify import classify_handlers
from serving.server.predict import predict
from serving.server.request_log import LogLimits, RequestLogger
from serving.server.request_logs import RequestLoggers, logged
from serving.server.status import Code, RequestError

SERVICE = "/tensorflow.serving.PredictionService/"
PREDICT = SERVICE + "Predict"


def config(prefix: Path | str, rate: float = 1.0) -> LoggingConfig:
    wanted = LoggingConfig()
    wanted.log_collector_config.filename_prefix = str(prefix)
    wanted.sampling_config.sampling_rate = rate
    return wanted


def request(number: int, padding: int = 0) -> bytes:
    message = PredictRequest()
    message.model_spec.name = "m"
    message.model_spec.version.value = number
    message.model_spec.signature_name = "x" * padding
    return bytes(message.SerializeToString())


def response() -> bytes:
    message = PredictResponse()
    message.model_spec.name = "m"
    message.model_spec.version.value = 4
    message.model_spec.signature_name = "serving_default"
    return bytes(message.SerializeToString())


def read(*files: Path) -> list[PredictionLog]:
    return [
        PredictionLog.FromString(record)
        for file in files
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    ]


def numbers(files: list[Path]) -> list[int]:
    return [log.predict_log.request.model_spec.version.value for log in read(*sorted(files))]


@contextmanager
def logger(prefix: Path, rate: float = 1.0, **options: Any) -> Iterator[RequestLogger]:
    requests = RequestLogger(config(prefix, rate), "m", **options)
    try:
        yield requests
    finally:
        requests.close()


def test_records_have_request_response_and_metadata(tmp_path: Path) -> None:
    with logger(tmp_path / "new" / "m", saved_model_tags=["serve"]) as requests:
        requests.log(PREDICT, request(7), response())
    (file,) = (tmp_path / "new").iterdir()
    assert file.name.startswith("m-")
    (log,) = read(file)
    assert log.predict_log.request.SerializeToString() == request(7)
    assert log.predict_log.response.SerializeToString() == response()
    metadata = log.log_metadata
    assert metadata.model_spec.version.value == 4
    assert metadata.model_spec.signature_name == "serving_default"
    assert metadata.sampling_config.sampling_rate == 1.0
    assert metadata.timestamp_secs > 1_600_000_000
    assert list(metadata.saved_model_tags) == ["serve"]


def test_all_handlers_log_and_an_error_does_not(tmp_path: Path, examples_core: Any) -> None:
    handlers: dict[str, Handler] = {**classify_handlers(examples_core)}
    classify, regress = ClassificationRequest(), RegressionRequest()
    for message, signature in ((classify, "both"), (regress, "half")):
        message.model_spec.name, message.model_spec.signature_name = "m", signature
        message.input.example_list.examples.add()
    several = MultiInferenceRequest(input=classify.input)
    task = several.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.name, task.model_spec.signature_name = "m", "half"
    with logger(tmp_path / "m") as requests:
        found = logged(handlers, {"m": requests}.get)
        for method, message in (
            ("Classify", classify),
            ("Regress", regress),
            ("MultiInference", several),
        ):
            found[SERVICE + method](message.SerializeToString(), Call())
        with pytest.raises(RequestError):
            found[SERVICE + "Regress"](classify.SerializeToString(), Call())
        unlogged = logged(handlers, {}.get)
        unlogged[SERVICE + "Classify"](classify.SerializeToString(), Call())
    logs = read(*tmp_path.iterdir())
    kinds = [log.WhichOneof("log_type") for log in logs]
    assert kinds == ["classify_log", "regress_log", "multi_inference_log"]
    assert [log.log_metadata.model_spec.signature_name for log in logs] == ["both", "half", "half"]
    assert logs[0].classify_log.response.result.classifications[0].classes[1].label == "high"


def test_futures_are_logged_when_they_are_done(
    tmp_path: Path, numeric: Any, one_model_core: Any
) -> None:
    class Unclosed:
        signatures, run = numeric.signatures, numeric.run

        def close(self) -> None: ...

    parameters = BatchingParameters(num_batch_threads=1)
    threads = BatchThreads(parameters)
    model = BatchedModel(Unclosed(), parameters, threads)
    core = one_model_core(model)
    message = PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = "m", "picky"
    with logger(tmp_path / "m") as requests:
        found = logged({PREDICT: lambda data, call: predict(core, data, call)}, {"m": requests}.get)
        for value in (4.0, -4.0):
            message.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([value], np.float32)))
            found[PREDICT](message.SerializeToString(), Call())
        model.close()
        threads.close()
    (log,) = read(*tmp_path.iterdir())
    assert log.predict_log.response.outputs["y"].float_val == [2.0]


def test_sampling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = itertools.cycle([0.1, 0.29, 0.3, 0.9])
    monkeypatch.setattr(request_log.random, "random", lambda: next(values))
    with logger(tmp_path / "some", 0.3) as some, logger(tmp_path / "none", 0.0) as none:
        for number in range(8):
            some.log(PREDICT, request(number), response())
            none.log(PREDICT, request(number), response())
    assert numbers(list(tmp_path.iterdir())) == [0, 1, 4, 5]


def test_rotation_by_size_and_by_age(tmp_path: Path) -> None:
    with logger(tmp_path / "size", limits=LogLimits(file_bytes=3000)) as requests:
        for number in range(7):
            requests.log(PREDICT, request(number, 1000), response())
            requests.flush()
    files = sorted(tmp_path.glob("size-*"))
    assert [len(read(file)) for file in files] == [3, 3, 1]
    assert numbers(files) == list(range(7))
    with logger(tmp_path / "age", limits=LogLimits(file_age_s=0)) as requests:
        for number in range(3):
            requests.log(PREDICT, request(number), response())
            requests.flush()
    assert [len(read(file)) for file in tmp_path.glob("age-*")] == [1, 1, 1]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes: a full disk, half way in a record."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dropped: list[int] = []
    size = 400_000
    with logger(tmp_path / "m", limits=LogLimits(retry_s=0), on_drop=dropped.append) as requests:

        def send(*sent: int, padding: int = size) -> None:
            for number in sent:
                requests.log(PREDICT, request(number, padding), response())
                requests.flush()

        with file_size_limit(1_000_000):
            send(1, 2, 3)  # the third does not fit: its part is cut off
            assert dropped == [1]
            send(4, padding=2 * size + size)  # not even into a new file
            assert dropped == [1, 1]
        send(5, 6)
    files = sorted(tmp_path.iterdir())
    assert [len(read(file)) for file in files] == [2, 2]
    assert numbers(files) == [1, 2, 5, 6]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "are not logged, and served all the same: " in messages[0]
    assert messages[1] == "requests of model m are logged again; 2 were not"


def test_a_folder_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logs").write_text("in the way")
    with logger(tmp_path / "logs" / "m", limits=LogLimits(retry_s=0)) as requests:
        for number in range(2):
            requests.log(PREDICT, request(number), response())
            requests.flush()
        (tmp_path / "logs").unlink()
        requests.log(PREDICT, request(2), response())
    assert numbers(list((tmp_path / "logs").iterdir())) == [2]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


def test_nothing_is_tried_for_a_while_after_a_fault(tmp_path: Path) -> None:
    dropped: list[int] = []
    blocked = tmp_path / "logs"
    blocked.write_text("in the way")
    limits = LogLimits(retry_s=10_000)
    with logger(blocked / "m", limits=limits, on_drop=dropped.append) as requests:
        requests.log(PREDICT, request(0), response())
        requests.flush()
        blocked.unlink()
        requests.log(PREDICT, request(1), response())
    assert dropped == [1, 1]
    assert not blocked.exists()


@pytest.mark.parametrize(
    "limits", [LogLimits(queue_requests=2), LogLimits(queue_bytes=2 * len(request(1) + response()))]
)
def test_a_slow_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    limits: LogLimits,
) -> None:
    writing, go_on = threading.Event(), threading.Event()
    write = request_log.RecordFiles.write

    def slow(files: Any, records: Any) -> None:
        writing.set()
        assert go_on.wait(30)
        write(files, records)

    monkeypatch.setattr(request_log.RecordFiles, "write", slow)
    dropped: list[int] = []
    with logger(tmp_path / "m", limits=limits, on_drop=dropped.append) as requests:
        requests.log(PREDICT, request(1), response())
        assert writing.wait(30)
        for number in (1, 2, 3, 4):
            requests.log(PREDICT, request(number), response())
        go_on.set()
    assert dropped == [1, 1]
    assert numbers(list(tmp_path.iterdir())) == [1, 1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "some requests of model m are not logged: more come than can be written"
    ]


def test_bytes_that_are_no_message_are_dropped_alone(tmp_path: Path) -> None:
    dropped: list[int] = []
    with logger(tmp_path / "m", on_drop=dropped.append) as requests:
        requests.log(PREDICT, b"\xff", response())
        requests.log(PREDICT, request(1), response())
    assert dropped == [1]
    assert numbers(list(tmp_path.iterdir())) == [1]


def test_no_prefix() -> None:
    with pytest.raises(RequestError, match="no filename_prefix") as caught:
        RequestLogger(config(""), "m")
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_loggers_follow_the_config(tmp_path: Path) -> None:
    def wanted(**prefixes: str) -> ModelServerConfig:
        message = ModelServerConfig()
        message.model_config_list.config.add(name="unlogged")
        for name, prefix in prefixes.items():
            model = message.model_config_list.config.add(name=name)
            model.logging_config.CopyFrom(config(prefix and tmp_path / prefix))
        return message

    loggers = RequestLoggers(lambda name, config: RequestLogger(config, name))
    loggers.update(wanted(a="a", b="b"))
    kept, moved = loggers.find("a"), loggers.find("b")
    assert kept is not None
    assert moved is not None
    assert loggers.find("unlogged") is None
    moved.log(PREDICT, request(1), response())
    loggers.update(wanted(a="a", b="c"))
    assert numbers(list(tmp_path.glob("b-*"))) == [1]  # written when it was closed
    assert loggers.find("a") is kept
    assert loggers.find("b") is not moved
    with pytest.raises(RequestError):
        loggers.update(wanted(a="d", b=""))
    assert loggers.find("a") is kept
    loggers.update(wanted())
    assert loggers.find("a") is None
    loggers.close()
