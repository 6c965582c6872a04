"""REST of a whole process: hooks, request ids, JSON logs to the last line, and large bodies."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.processes import ServerProcess, launched
from tfx_pipeline.errors import ServingError

pytestmark = pytest.mark.slow
MB = 2**20
BOUND = 16 * MB
PATH = "/v1/models/m:predict"
HOOKS = """
import warnings

def before(model, signature, inputs):
    if (inputs["x"] < 0).any():
        raise ValueError(f"{model}: x must not be negative")
    if (inputs["x"] > 100).any():
        warnings.warn("x is large\\nas large as that")
        raise KeyError("a secret")
    return {"x": inputs["x"] * 2}

def after(model, signature, outputs):
    return {alias: array + 1 if alias == "y" else array for alias, array in outputs.items()}
"""


@pytest.fixture(scope="module")
def process(
    exported: dict[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("rest-process")
    shutil.copytree(exported[2], folder / "m" / "1")
    (folder / "process_hooks.py").write_text(HOOKS)
    flags = (
        f"--model_base_path={folder / 'm'}",
        "--rest_api_port=-1",
        f"--rest_api_max_body_bytes={BOUND}",
        "--log_format=json",
        "--log_requests",
        "--preprocessing_hook=process_hooks:before",
        "--postprocessing_hook=process_hooks:after",
        "--skip_initialize_tpu",  # means nothing here, which is told in the log
    )
    with launched(folder / "server.log", *flags, path=str(folder)) as server:
        server.wait_ready()
        yield server


@pytest.fixture
def http(process: ServerProcess) -> Iterator[httpx.Client]:
    url = f"http://127.0.0.1:{process.rest_port}"
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        yield client


def _body(value: float) -> bytes:
    return json.dumps({"signature_name": "dense", "inputs": {"x": [[value] * 3]}}).encode()


def _entries(server: ServerProcess) -> list[dict[str, Any]]:
    """The log; fails at a line that is no JSON object with what every entry has."""
    entries = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert all({"time", "severity", "message"} <= entry.keys() for entry in entries)
    return entries


def test_hooks(http: httpx.Client) -> None:
    answer = http.post(PATH, content=_body(1.0))
    assert (answer.status_code, answer.json()["outputs"]["y"]) == (200, [[2 * 6.0 + 1]])
    refused = http.post(PATH, content=_body(-1.0))
    assert refused.status_code == 400
    assert refused.json() == {"error": "m: x must not be negative"}
    broken = http.post(PATH, content=_body(101.0))
    assert broken.status_code == 500
    assert "secret" not in broken.text


@pytest.mark.parametrize(
    ("path", "body", "status", "logged"),
    [
        (PATH, _body(1.0), 200, "OK"),
        (PATH, b"{", 400, "INVALID_ARGUMENT"),
        ("/v1/models/no%0A2026%20one:predict", _body(1.0), 404, "NOT_FOUND"),
        ("/v1/models/m:classify", _body(1.0), 400, "INVALID_ARGUMENT"),
    ],
    ids=["answered", "no-json", "no-model", "no-examples"],
)
def test_request_ids(
    process: ServerProcess, http: httpx.Client, path: str, body: bytes, status: int, logged: str
) -> None:
    """The client's own or one that is made; in the answer and in one line of the log."""
    sent = f"id-{logged}-{status}-{path}"
    own = http.post(path, content=body, headers={"X-Request-Id": sent})
    assert (own.status_code, own.headers["x-request-id"]) == (status, sent)
    made = [http.post(path, content=body).headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    for request_id in (sent, *made):
        [entry] = [e for e in _entries(process) if e.get("request_id") == request_id]
        assert (entry["status"], entry["entrypoint"]) == (logged, "REST")
        assert request_id in entry["message"]
        assert "\n" not in entry["message"]


def test_answers_without_a_model_have_an_id_too(http: httpx.Client) -> None:
    for path in ("/healthz", "/nothing", "/v1/nothing"):
        answer = http.get(path, headers={"X-Request-Id": "probe"})
        assert answer.headers["x-request-id"] == "probe"


def _peak_mb(server: ServerProcess) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def _send_large(port: int, head: str, piece: bytes, count: int) -> bytes:
    """Sends more than is taken; what is answered, if the connection's end leaves that readable."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        with suppress(ConnectionError):
            connection.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
            for _ in range(count):
                connection.sendall(piece)
        answer = b""
        with suppress(ConnectionError):
            while received := connection.recv(65536):
                answer += received
        return answer


def test_bodies_of_100_mb(process: ServerProcess) -> None:
    """Told with its length it costs no memory, without it what the bound allows; then 413."""
    before = _peak_mb(process)
    spaces = b" " * MB
    for _ in range(3):
        answer = _send_large(process.rest_port, f"Content-Length: {100 * MB}", spaces, 100)
        assert b" 413 " in answer.partition(b"\r\n")[0] or not answer
    assert _peak_mb(process) - before < 8
    chunk = f"{MB:x}\r\n".encode() + spaces + b"\r\n"
    for _ in range(3):
        answer = _send_large(process.rest_port, "Transfer-Encoding: chunked", chunk, 100)
        assert b" 413 " in answer.partition(b"\r\n")[0] or not answer
    assert _peak_mb(process) - before < 2.5 * BOUND / MB
    answer = _send_large(process.rest_port, f"Content-Length: {100 * MB}", b"", 0)
    assert f"the request's body is larger than {BOUND} bytes".encode() in answer


def test_a_body_within_the_bound(http: httpx.Client) -> None:
    rows = BOUND // 2 // len(b"[1.0,1.0,1.0],")
    body = b'{"signature_name": "dense", "inputs": {"x": [' + b"[1.0,1.0,1.0]," * rows
    body += b'[1.0,1.0,1.0]]}, "padding": "' + b" " * (BOUND - len(body) - 50) + b'"}'
    assert BOUND - 100 < len(body) <= BOUND
    answer = http.post(PATH, content=body)
    assert answer.status_code == 200
    assert len(answer.json()["outputs"]["y"]) == rows + 1


def test_every_line_is_json_to_the_end(process: ServerProcess, http: httpx.Client) -> None:
    """Also a library's warning, a traceback, and what comes after SIGTERM. The last one here."""
    assert http.post(PATH, content=_body(101.0)).status_code == 500
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(30) == 0
    messages = [entry["message"] for entry in _entries(process)]
    assert messages[-1] == "stopped"
    assert any("--skip_initialize_tpu does nothing here" in message for message in messages)
    assert any("x is large\nas large as that" in message for message in messages)
    assert any("Traceback" in message and "a secret" in message for message in messages)


@pytest.mark.parametrize("written", [["--log_format=json"], ["--log_format", "json"]])
def test_why_it_does_not_start_is_json_too(tmp_path: Path, written: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = (f"--model_base_path={tmp_path}", f"--rest_api_port={port}", *written)
        with launched(tmp_path / "server.log", *flags) as server:
            assert server.process.wait(60) == ServingError.exit_code
            [entry] = _entries(server)  # the only one: nothing has been begun yet
    assert entry["severity"] == "ERROR"
    assert entry["message"].startswith(f"cannot listen on port {port} of 127.0.0.1")
    assert "--rest_api_port=-1 for a free one" in entry["hint"]
