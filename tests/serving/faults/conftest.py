"""Servers to be hurt: in this process, or as a process of their own."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from serving.server.options import ServerOptions, parse_flags
from tests.serving.processes import ServerProcess, launched

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


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts a process that serves; it is killed at the end if it has not ended."""
    with contextlib.ExitStack() as stack:
        count = itertools.count()

        def start(port: int, *flags: str) -> ServerProcess:
            log = tmp_path / f"server-{next(count)}.log"
            return stack.enter_context(launched(log, *flags, port=port))

        yield start
