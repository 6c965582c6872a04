"""From SIGTERM to the end: who is answered, who is refused, what probes are told."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from serving.server.running import start
from serving.tensors import write_tensor

pytestmark = pytest.mark.slow
Push = Callable[..., Path]
PREDICT = "/tensorflow.serving.PredictionService/Predict"
PATH = "/v1/models/m:predict"
HEALTH = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
DENSE = json.dumps({"signature_name": "dense", "inputs": {"x": [[1.0, 1.0, 1.0]]}})
QUEUED_S = 4.0


def _dense() -> bytes:
    request = PredictRequest(model_spec={"name": "m", "signature_name": "dense"})
    write_tensor(request.inputs["x"], np.ones((1, 3), np.float32))
    return request.SerializeToString()


def test_sigterm_while_batches_wait(tmp_path: Path, push: Push, front: str, launch: Any) -> None:
    """Requests that wait for a batch to fill are answered, by both ports; probes see the drain."""
    push(tmp_path / "m", 1)
    parameters = tmp_path / "batching.config"
    parameters.write_text(
        f"max_batch_size {{ value: 64 }} batch_timeout_micros {{ value: {int(QUEUED_S * 1e6)} }}"
    )
    server = launch(
        0,
        f"--grpc_front={front}",
        f"--model_base_path={tmp_path / 'm'}",
        "--rest_api_port=-1",
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
        "--drain_seconds=30",
    )
    server.wait_ready()
    url = f"http://127.0.0.1:{server.rest_port}"
    with (
        grpc.insecure_channel(server.address) as channel,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as http,
        ThreadPoolExecutor(8) as pool,
    ):
        call = channel.unary_unary(PREDICT)
        over_grpc = [call.future(_dense(), timeout=60) for _ in range(8)]
        over_rest = [pool.submit(http.post, PATH, content=DENSE) for _ in range(8)]
        time.sleep(QUEUED_S / 4)  # until they are read; nothing outside tells
        assert not any(answer.done() for answer in (*over_grpc, *over_rest))
        assert http.get("/readyz").status_code == 200

        os.kill(server.process.pid, signal.SIGTERM)
        while (ready := http.get("/readyz")).status_code == 200:
            time.sleep(0.01)
        assert (ready.status_code, ready.json()) == (503, {"status": "shutting down"})
        alive = httpx.get(f"{url}/healthz", trust_env=False)  # on a new connection, as probes do
        assert (alive.status_code, alive.headers["connection"]) == (200, "close")
        refused = http.post(PATH, content=DENSE)
        assert (refused.status_code, refused.headers["connection"]) == (503, "close")
        assert refused.json() == {"error": "the server is shutting down"}
        with pytest.raises(grpc.RpcError) as caught:
            call(_dense(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

        for later in over_rest:
            answer = later.result()
            assert (answer.status_code, answer.json()["outputs"]["y"]) == (200, [[6.0]])
        for call_in_flight in over_grpc:
            assert b"y" in call_in_flight.result(30)
        assert server.process.wait(30) == 0
    assert server.log.read_text().endswith("I stopped\n")


def test_health_says_not_serving(tmp_path: Path, push: Push, front: str, options: Any) -> None:
    """From the moment that draining begins, whatever is loaded."""
    push(tmp_path, 1)
    flags = options(
        f"--grpc_front={front}",
        "--model_name=m",
        f"--model_base_path={tmp_path}",
        "--enable_grpc_healthcheck_service",
    )
    with start(flags) as running, grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        health = channel.unary_unary(HEALTH)
        assert health(b"", timeout=30) == SERVING
        running.core.drain()
        assert health(b"", timeout=30) == NOT_SERVING


def test_sigterm_during_a_load(tmp_path: Path, push: Push, launch: Any) -> None:
    """A load cannot be interrupted, and is not waited for: there are no requests to finish."""
    variables = push(tmp_path / "m", 1) / "variables" / "variables.data-00000-of-00001"
    variables.unlink()
    os.mkfifo(variables)  # who opens it waits for a writer, who never comes
    server = launch(
        0, f"--model_base_path={tmp_path / 'm'}", "--rest_api_port=-1", "--drain_seconds=60"
    )
    url = f"http://127.0.0.1:{server.rest_port}"
    while "LOADING" not in httpx.get(f"{url}/v1/models/m", trust_env=False).text:
        assert server.process.poll() is None
        time.sleep(0.01)
    assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 503
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0  # half of what requests would be given
    assert "not waiting for what still runs: the load of a model" in server.log.read_text()


def test_a_request_that_is_still_being_sent(tmp_path: Path, push: Push, options: Any) -> None:
    """Its head came before the end was in sight: it is answered."""
    push(tmp_path, 1)
    flags = options("--model_name=m", f"--model_base_path={tmp_path}", "--rest_api_port=-1")
    body = DENSE.encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with start(flags) as running:
        address = ("127.0.0.1", running.rest_port)
        with socket.create_connection(address, 30) as sending:
            sending.sendall(head.encode() + body[:10])
            url = f"http://127.0.0.1:{running.rest_port}"
            assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200  # it was read
            stopping = threading.Thread(target=running.stop, args=(30,))
            stopping.start()
            while httpx.get(f"{url}/readyz", trust_env=False).status_code == 200:
                time.sleep(0.01)
            sending.sendall(body[10:])
            answer = sending.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answer
        stopping.join(30)
        assert not stopping.is_alive()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
