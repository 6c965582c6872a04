"""SIGTERM, SIGINT and SIGKILL to a server that has work to do."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from serving.client import Client
from serving.tensors import write_tensor
from tfx_pipeline.errors import ServingError

pytestmark = pytest.mark.slow
Push = Callable[..., Path]
X = {"x": np.ones((1, 3), np.float32)}
PREDICT = "/tensorflow.serving.PredictionService/Predict"
DRAIN_S = {False: 20, True: 2}  # by whether a request outlasts it


def _request(signature: str, alias: str, array: np.ndarray) -> bytes:
    request = PredictRequest(model_spec={"name": "m", "signature_name": signature})
    write_tensor(request.inputs[alias], array)
    return request.SerializeToString()


SLOW = _request("slow", "steps", np.asarray(50_000, np.int64))  # some tenths of a second
ENDLESS = _request("slow", "steps", np.asarray(2**40, np.int64))
QUICK = _request("dense", "x", X["x"])


def _start_on(call: Any, *requests: bytes) -> list[Any]:
    """Sends requests on one connection; returns when the server has read them all.

    A server reads a connection in order: when the last is answered, the others are running.
    """
    running = [call.future(request, timeout=60) for request in requests]
    call(QUICK, timeout=60)
    return running


@pytest.mark.parametrize("endless", [False, True], ids=["all-end", "one-does-not"])
def test_sigterm_under_load(
    tmp_path: Path, push: Push, front: str, launch: Any, free_port: Any, endless: bool
) -> None:
    """Running requests are answered, later ones refused; exit 0 within the bound, come what may."""
    push(tmp_path / "m", 1)
    server = launch(
        free_port(),
        f"--grpc_front={front}",
        f"--model_base_path={tmp_path / 'm'}",
        f"--drain_seconds={DRAIN_S[endless]}",
        "--grpc_max_threads=16",
        "--tensorflow_inter_op_parallelism=8",
    )
    server.wait_ready()
    refused: list[grpc.StatusCode] = []

    def keep_asking() -> None:
        with grpc.insecure_channel(server.address) as channel:
            call = channel.unary_unary(PREDICT)
            while not refused:
                try:
                    call(QUICK, timeout=30)
                except grpc.RpcError as error:
                    refused.append(error.code())

    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary(PREDICT)
        [left] = _start_on(call, ENDLESS) if endless else [None]
        # Beside one that never ends, others may not end in time on a busy machine.
        running = _start_on(call, *([] if endless else [SLOW, SLOW]))
        asking = [threading.Thread(target=keep_asking) for _ in range(2)]
        for thread in asking:
            thread.start()
        signalled = time.monotonic()
        os.kill(server.process.pid, signal.SIGTERM)
        for answer in running:
            assert b"value" in answer.result(60)
        for thread in asking:
            thread.join()
        assert server.process.wait(60) == 0, server.log.read_text()
        took_s = time.monotonic() - signalled
        if left is not None:
            assert left.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    # grpcio says CANCELLED to what it has read and not begun when it is told to stop.
    late = {grpc.StatusCode.CANCELLED} if front == "grpcio" else set()
    assert set(refused) <= {grpc.StatusCode.UNAVAILABLE} | late
    assert (
        took_s < DRAIN_S[endless] + 2.0 + 3.0
    )  # to finish, to close, and for a machine that is busy
    if not endless:
        assert "I stopped" in server.log.read_text().splitlines()[-1]


def test_kill_under_load_and_start_again(
    tmp_path: Path, push: Push, front: str, launch: Any, free_port: Any
) -> None:
    """The port is free at once, though connections were open; then SIGINT, twice, ends it."""
    push(tmp_path / "m", 1)
    port = free_port()
    flags = (f"--grpc_front={front}", f"--model_base_path={tmp_path / 'm'}", "--drain_seconds=60")
    first = launch(port, *flags)
    first.wait_ready()
    codes: list[str] = []

    def keep_asking() -> None:
        with Client(first.address) as client:
            while not codes:
                try:
                    client.predict("m", X, signature_name="dense")
                except ServingError as error:
                    codes.append(getattr(error, "code", ""))

    asking = threading.Thread(target=keep_asking)
    with grpc.insecure_channel(first.address) as channel:
        running = _start_on(channel.unary_unary(PREDICT), ENDLESS)
        asking.start()
        first.process.kill()
        assert first.process.wait(30) == -signal.SIGKILL
        second = launch(port, *flags)
        asking.join()
        assert codes == ["UNAVAILABLE"]
        assert running[0].code() is grpc.StatusCode.UNAVAILABLE
        second.wait_ready()
    with Client(second.address) as client:
        assert client.predict("m", X, signature_name="dense")["y"].item() == 6.0

    with grpc.insecure_channel(second.address) as channel:
        running = _start_on(channel.unary_unary(PREDICT), ENDLESS)
        second.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 30
        while second.process.poll() is None:  # the second counts once a second has passed
            assert time.monotonic() < deadline
            time.sleep(0.2)
            second.process.send_signal(signal.SIGINT)
        assert second.process.returncode == 128 + signal.SIGINT
        assert running[0].code() is grpc.StatusCode.UNAVAILABLE
