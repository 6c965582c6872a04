"""JSON logs with request ids, and Python hooks around the model, over every transport."""

from __future__ import annotations

import json
import logging
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.client import Client, RequestFailed
from serving.server.logs import JsonFormatter, log_to_stderr
from serving.server.running import start
from tfx_pipeline.errors import ConfigError

Push = Callable[..., Path]
HOOKS = """
def before(model, signature, inputs):
    if signature == "dense":
        if (inputs["x"] < 0).any():
            raise ValueError(f"{model}: x must not be negative")
        if (inputs["x"] > 100).any():
            raise KeyError("a secret")
        return {"x": inputs["x"] * 2}
    return inputs

def after(model, signature, outputs):
    return {alias: array + 1 if alias == "y" else array for alias, array in outputs.items()}

constant = 3
"""


@pytest.fixture
def quiet_log() -> Iterator[None]:
    """Puts the loggers back as they were."""
    loggers = [logging.getLogger(name) for name in ("assay.serving", "assay.serving.requests")]
    before = [(log.handlers[:], log.level, log.propagate) for log in loggers]
    yield
    for log, (handlers, level, propagate) in zip(loggers, before, strict=True):
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)


@pytest.mark.usefixtures("quiet_log")
def test_json_lines_with_request_ids(
    tmp_path: Path,
    push: Push,
    front: str,
    options: Any,
    ones: dict[str, np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> None:
    import grpc
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    push(tmp_path, 1)
    flags = options(
        f"--grpc_front={front}",
        "--model_name=m",
        f"--model_base_path={tmp_path}",
        "--rest_api_port=-1",
    )
    log_to_stderr(as_json=True, requests=True)
    with start(flags) as running:
        with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            nobody = PredictRequest(model_spec={"name": "nobody"}).SerializeToString()
            with pytest.raises(grpc.RpcError):
                call(nobody, timeout=30, metadata=[("x-request-id", "over-grpc")])
        body = json.dumps({"signature_name": "dense", "inputs": {"x": [[1.0, 1.0, 1.0]]}})
        request = urllib.request.Request(
            f"http://127.0.0.1:{running.rest_port}/v1/models/m:predict",
            body.encode(),
            {"x-request-id": "over-rest"},
        )
        urllib.request.urlopen(request, timeout=30).close()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line[:1] == "{"]
    assert all({"time", "severity", "message"} <= set(line) for line in lines)
    found = {line["request_id"]: line for line in lines if "request_id" in line}
    failed, answered = found["over-grpc"], found["over-rest"]
    assert (failed["status"], failed["entrypoint"], failed["model"]) == (
        "NOT_FOUND",
        "GRPC",
        "nobody",
    )
    assert (answered["status"], answered["entrypoint"], answered["api"]) == (
        "OK",
        "REST",
        "Predict",
    )
    assert answered["latency_us"] > 0


@pytest.mark.usefixtures("quiet_log")
@pytest.mark.parametrize("requests", [False, True])
def test_requests_are_logged_where_asked(requests: bool) -> None:
    log_to_stderr(as_json=False, requests=requests)
    assert logging.getLogger("assay.serving.requests").isEnabledFor(logging.INFO) is requests


def test_an_entry_is_one_line() -> None:
    try:
        raise OSError("two\nlines")
    except OSError as error:
        info = (OSError, error, error.__traceback__)
    record = logging.LogRecord("assay", logging.ERROR, "", 0, "a %s\nb", ("x",), info)
    record.fields = {"path": Path("/x")}
    record.created, record.msecs = 0.0, 5.0
    text = JsonFormatter().format(record)
    assert "\n" not in text
    entry = json.loads(text)
    assert entry["message"].startswith("a x\nb\nTraceback")
    assert (entry["time"], entry["severity"]) == ("1970-01-01T00:00:00.005Z", "ERROR")
    assert entry["path"] == "/x"


@pytest.fixture
def hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An importable module of hooks."""
    (tmp_path / "assay_test_hooks.py").write_text(HOOKS)
    monkeypatch.syspath_prepend(tmp_path)
    return "assay_test_hooks"


@pytest.mark.parametrize("batched", [False, True], ids=["each", "batched"])
def test_hooks_around_the_model(
    tmp_path: Path,
    push: Push,
    front: str,
    options: Any,
    hooks: str,
    batched: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    push(tmp_path / "m", 1)
    flags = options(
        f"--grpc_front={front}",
        "--model_name=m",
        f"--model_base_path={tmp_path / 'm'}",
        f"--preprocessing_hook={hooks}:before",
        f"--postprocessing_hook={hooks}:after",
        f"--enable_batching={str(batched).lower()}",
    )

    def ask(value: float) -> float:
        x = {"x": np.full((1, 3), value, np.float32)}
        return client.predict("m", x, signature_name="dense")["y"].item()

    with start(flags) as running, Client(f"127.0.0.1:{running.port}") as client:
        assert ask(1) == 2 * 6.0 + 1
        with pytest.raises(RequestFailed, match="m: x must not be negative") as caught:
            ask(-1)
        assert caught.value.code == "INVALID_ARGUMENT"
        with pytest.raises(RequestFailed) as caught:
            ask(101)
        assert caught.value.code == "INTERNAL"
        assert "secret" not in str(caught.value)
        assert ask(2) == 4 * 6.0 + 1
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("before", "is no import path"),
        ("no_such_module_here:before", "cannot be imported"),
        ("assay_test_hooks:none", "there is no function none"),
        ("assay_test_hooks:constant", "there is no function constant"),
    ],
)
@pytest.mark.usefixtures("hooks")
def test_hooks_that_are_not_there(options: Any, path: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        start(options("--model_base_path=/m", f"--preprocessing_hook={path}"))
