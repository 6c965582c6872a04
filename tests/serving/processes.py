"""Model servers as processes of their own, for tests that hurt or end them."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.client import Client, RequestFailed

_GRPC = re.compile(r"Running gRPC ModelServer at 127\.0\.0\.1:(\d+)")
_REST = re.compile(r"Exporting HTTP/REST API at:127\.0\.0\.1:(\d+)")
_START_S = 60.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class ServerProcess:
    """A server with a process of its own.

    Attributes:
        process: The process.
        log: The file that its standard output and standard error go to.
    """

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def address(self) -> str:
        """Where it answers gRPC; waits until the log says so."""
        return f"127.0.0.1:{self._port(_GRPC)}"

    @property
    def rest_port(self) -> int:
        """Where it answers REST; waits until the log says so."""
        return self._port(_REST)

    def wait_ready(self) -> None:
        """Returns when model `m` answers; fails with the log when the process ends."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError, RequestFailed):
                host, _, port = self.address.partition(":")
                socket.create_connection((host, int(port)), 1).close()
                with Client(self.address) as client:
                    client.wait_ready("m", 30)
                return
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def _port(self, pattern: re.Pattern[str]) -> int:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            found = pattern.search(self.log.read_text())
            if found:
                return int(found[1])
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())


@contextlib.contextmanager
def launched(log: Path, *flags: str, port: int = 0, path: str = "") -> Iterator[ServerProcess]:
    """A process that serves model `m`; it is killed at the end if it has not ended.

    Args:
        log: Where its output goes.
        flags: Of the server, beside those for the address and the model's name.
        port: For gRPC; 0 takes a free one.
        path: A folder to import hooks from.
    """
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
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), path])),
                "ASSAY_EXIT_WITH_STDIN": "1",
            },
        )
    try:
        yield ServerProcess(process, log)
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()
