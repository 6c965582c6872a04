"""Runs a model server as a process of its own for as long as a `with` block lasts."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from serving.client import Client
from tfx_pipeline.errors import ServingError

_RUNNING = re.compile(rb"Running gRPC ModelServer at [^\s]*:(\d+)")
_OUR_SERVER = [sys.executable, "-m", "serving.server.main", "--bind_address=127.0.0.1"]
_TAIL_LINES = 15
_STOP_S = 12.0  # a little over the server's own grace


@contextmanager
def model_server_process(
    model_name: str,
    model_base_path: str | Path,
    port: int = 0,
    binary: str | Path | None = None,
    log_file: str | Path | None = None,
    ready_timeout_s: float = 60.0,
) -> Iterator[str]:
    """Starts a server, waits until it answers, and stops it at the end whatever happens.

    The server also ends when this process is killed. (The real binary does not watch its parent:
    it outlives a `kill -9` of this process, and it listens on every interface.)

    Args:
        model_name: The name that requests use.
        model_base_path: The folder that holds the version folders.
        port: TCP port; 0 takes a free one.
        binary: A `tensorflow_model_server` to run instead of our own server.
        log_file: Where the server's log goes; None keeps it only until the end.
        ready_timeout_s: How long the first version may take to become available.

    Yields:
        The address, `127.0.0.1:<port>`.

    Raises:
        ServingError: The server died or did not become ready; carries the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="assay-serving-") as folder:
        log = Path(log_file) if log_file else Path(folder) / "server.log"
        if binary is not None and port == 0:
            port = _free_port()
        command = [
            *([str(binary)] if binary else _OUR_SERVER),
            f"--port={port}",
            f"--model_name={model_name}",
            f"--model_base_path={Path(model_base_path).absolute()}",
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                # Our server stops when this pipe closes, which the kernel sees to if we die.
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )
        try:
            yield _wait_until_ready(process, model_name, log, ready_timeout_s)
        finally:
            _stop(process)


def _environment() -> dict[str, str]:
    """This process's environment, with our package importable from wherever it lies."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH", "")
    return {
        **os.environ,
        "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root,
        "ASSAY_EXIT_WITH_STDIN": "1",
    }


def _wait_until_ready(
    process: subprocess.Popen[bytes], model_name: str, log: Path, timeout_s: float
) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _not_ready(f"the model server ended with code {process.returncode}", log)
        listening = _RUNNING.search(log.read_bytes())
        if listening:
            address = f"127.0.0.1:{int(listening[1])}"
            left = max(0.1, deadline - time.monotonic())
            try:
                with Client(address) as client:
                    client.wait_ready(model_name, left)
            except ServingError as error:
                raise _not_ready(error.headline, log) from error
            return address
        time.sleep(0.02)
    raise _not_ready(f"the model server was not ready within {timeout_s:g} s", log)


def _not_ready(headline: str, log: Path) -> ServingError:
    lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    tail = "\n".join(f"  {line}" for line in lines) or "  (it logged nothing)"
    return ServingError(headline, hint=f"The end of its log:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stdin:
            process.stdin.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
