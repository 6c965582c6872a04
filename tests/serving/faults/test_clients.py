"""Clients that give up, stall, or come in numbers; and what a server keeps of them: nothing."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.client import Client, RequestFailed
from serving.server.running import RunningServer, start

Push = Callable[..., Path]
Wait = Callable[[Callable[[], object]], None]
X = {"x": np.ones((1, 3), np.float32)}
IDLE = 1000


@pytest.fixture(params=["grpcio", "h2"])
def running(
    request: pytest.FixtureRequest, tmp_path: Path, push: Push, options: Any
) -> Iterator[RunningServer]:
    push(tmp_path, 1)
    flags = options(
        f"--grpc_front={request.param}",
        "--model_name=m",
        f"--model_base_path={tmp_path}",
        "--rest_api_port=-1",
        "--grpc_max_threads=4",
    )
    with start(flags) as server:
        yield server


def _answers(running: RunningServer) -> float:
    """Seconds that a new connection and a request on it take, over gRPC and REST."""
    begun = time.monotonic()
    with Client(f"127.0.0.1:{running.port}", timeout_s=10) as client:
        assert client.predict("m", X, signature_name="dense")["y"].item() == 6.0
    urllib.request.urlopen(f"http://127.0.0.1:{running.rest_port}/v1/models/m", timeout=10).close()
    return time.monotonic() - begun


def test_requests_past_their_deadline(running: RunningServer, wait: Wait) -> None:
    """More of them than there are threads; each ends for its client in time."""
    codes: list[str] = []

    def give_up() -> None:
        with Client(f"127.0.0.1:{running.port}", timeout_s=0.2) as client:
            try:
                client.predict("m", {"steps": np.int64(20_000)}, signature_name="slow")
            except RequestFailed as error:
                codes.append(error.code)
            else:
                codes.append("OK")

    threads = [threading.Thread(target=give_up) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {"DEADLINE_EXCEEDED", "OK"}
    assert "DEADLINE_EXCEEDED" in codes
    wait(lambda: running.core.in_flight() == 0)
    _answers(running)


def test_a_thousand_idle_slow_and_half_open_clients(running: RunningServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4 * IDLE:  # both ends are in this process
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * IDLE, hard), hard))
    sent = [b"", b"PRI * HTTP/2.0\r\n\r\nSM", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", b"GET /v1"]
    with ExitStack() as stack:
        for number in range(IDLE):
            port = running.rest_port if number % 4 == 0 else running.port
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            client.sendall(sent[number % len(sent)])
            if number % 5 == 0:
                client.shutdown(socket.SHUT_WR)
        assert min(_answers(running) for _ in range(3)) < 1.0
    _answers(running)


def test_nothing_is_kept_of_those_that_left(running: RunningServer, wait: Wait) -> None:
    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    for _ in range(20):  # what is made once
        _answers(running)
    before = held()
    for _ in range(200):
        _answers(running)
    # A connection's end reaches the server later than the client; a thread of the pools may start.
    wait(lambda: held()[0] <= before[0] + 8)
    assert held()[1] <= before[1] + 8


@pytest.mark.slow
def test_reloads_keep_no_memory(tmp_path: Path, push: Push, options: Any, wait: Wait) -> None:
    """Twenty versions one after the other, each loaded, asked and unloaded."""
    push(tmp_path, 1)
    flags = options("--model_name=m", f"--model_base_path={tmp_path}")

    def resident_mb() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    with start(flags) as running:
        model = running.core.model("m")
        assert model is not None

        def reload(version: int) -> None:
            push(tmp_path, version)
            running.core.poll()
            wait(lambda: model.statuses()[version - 1].state.name == "END")
            _predict(running)
            shutil.rmtree(tmp_path / str(version - 1))

        for version in range(2, 8):
            reload(version)
        before = resident_mb()
        for version in range(8, 28):
            reload(version)
        grown = resident_mb() - before
    assert grown < 20, f"{grown:.1f} MB more after 20 reloads"


def _predict(running: RunningServer) -> None:
    with running.core.lease("m") as (_, served):
        assert served.run("dense", X, ["y"])["y"].item() == 6.0
