"""Servers to be hurt: in this process, or as a process of their own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from serving.client import Client, RequestFailed
from serving.server.options import ServerOptions, parse_flags

FRONTS = ("grpcio", "h2")
TIMEOUT_S = 30.0


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest) -> str:
    """The name of a gRPC front."""
    return str(request.param)


@pytest.fixture
def options() -> Callable[..., ServerOptions]:
    """Options of a server on a free port of this machine only, from further flags."""

    def parse(*flags: str) -> ServerOptions:
        return parse_flags(["--port=0", "--bind_address=127.0.0.1", *flags])[0]

    return parse


@pytest.fixture
def wait() -> Callable[[Callable[[], object]], None]:
    """Waits until a condition is true."""

    def until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.01)

    return until


@pytest.fixture
def ones() -> dict[str, np.ndarray]:
    """Inputs of the signature `dense`, which answers with 3 times the model's weight."""
    return {"x": np.ones((1, 3), np.float32)}


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A TCP port that nobody listens on."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@dataclass
class ServerProcess:
    """A server with a process of its own."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def address(self) -> str:
        """Where it answers gRPC."""
        return f"127.0.0.1:{self.port}"

    def wait_ready(self) -> None:
        """Returns when model `m` answers; fails with the log when the process ends."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError, RequestFailed):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                with Client(self.address) as client:
                    client.wait_ready("m", 30)
                return
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts a process that serves; it is killed at the end if it has not ended."""
    started: list[subprocess.Popen[bytes]] = []

    def start(port: int, *flags: str) -> ServerProcess:
        log = tmp_path / f"server-{len(started)}.log"
        root = str(Path(__file__).resolve().parents[3])
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "serving.server.main",
                    "--bind_address=127.0.0.1",
                    "--model_name=m",
                    f"--port={port}",
                    *flags,
                ],
                stdin=subprocess.PIPE,  # closes when we die, and the server with it
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": root, "ASSAY_EXIT_WITH_STDIN": "1"},
            )
        started.append(process)
        return ServerProcess(process, port, log)

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()
