"""Runs a model server as a process of its own for as long as a `with` block lasts."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from serving.client import Client
from tfx_pipeline.errors import ServingError

_RUNNING = re.compile(rb"Running gRPC ModelServer at [^\s]*:(\d+)")
_OUR_SERVER = [sys.executable, "-m", "serving.server.main", "--bind_address=127.0.0.1"]
# `-I -S`: nothing but the standard library is looked for, which makes it start in 15 ms.
_GUARD = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))]
_PORT_TAKEN = re.compile(r"address already in use|cannot listen on port|failed to bind", re.I)
_PORTS_TRIED = 3
_TAIL_LINES = 15
_STOP_S = 12.0  # a little over the server's own grace


@dataclass(frozen=True)
class ServerProcess:
    """A server that listens.

    Attributes:
        address: Where it answers gRPC, `127.0.0.1:<port>`.
        process: The process.
        log: The file that its standard output and standard error go to, after what is there.
        log_start: Where in that file its own output begins.
    """

    address: str
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int = 0


@contextmanager
def model_server_process(
    model_name: str,
    model_base_path: str | Path,
    port: int = 0,
    binary: str | Path | None = None,
    log_file: str | Path | None = None,
    ready_timeout_s: float = 60.0,
) -> Iterator[str]:
    """Starts a server on one model, waits until it answers, and stops it whatever happens.

    Args:
        model_name: The name that requests use.
        model_base_path: The folder that holds the version folders.
        port: TCP port; 0 takes a free one.
        binary: A `tensorflow_model_server` to run instead of our own server.
        log_file: Where the server's log is appended; None keeps it only until the end.
        ready_timeout_s: How long the first version may take to become available.

    Yields:
        The address, `127.0.0.1:<port>`.

    Raises:
        ServingError: The server died or did not become ready; carries the end of its log.
    """
    flags = [f"--model_name={model_name}", f"--model_base_path={Path(model_base_path).absolute()}"]
    deadline = time.monotonic() + ready_timeout_s
    with server_process(
        flags, port=port, binary=binary, log_file=log_file, ready_timeout_s=ready_timeout_s
    ) as server:
        try:
            with Client(server.address) as client:
                client.wait_ready(model_name, max(0.1, deadline - time.monotonic()))
        except ServingError as error:
            raise _not_ready(error.headline, server.log, server.log_start) from error
        yield server.address


@contextmanager
def server_process(
    flags: Sequence[str],
    *,
    port: int = 0,
    binary: str | Path | None = None,
    log_file: str | Path | None = None,
    ready_timeout_s: float = 60.0,
    stop_timeout_s: float = _STOP_S,
    environment: Mapping[str, str] | None = None,
) -> Iterator[ServerProcess]:
    """Starts a server with these flags, waits until it listens, and stops it whatever happens.

    The server also ends when this process is killed. (The real binary listens on every interface.)

    Args:
        flags: The server's, without `--port`.
        port: TCP port; 0 takes a free one, and another when somebody else was quicker.
        binary: A `tensorflow_model_server` to run instead of our own server.
        log_file: Where the server's log is appended; None keeps it only until the end.
        ready_timeout_s: How long it may take until it listens.
        stop_timeout_s: How long it may take to stop before it is killed.
        environment: Variables to set beside those of this process.

    Raises:
        ServingError: The server died or did not listen in time; carries the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="assay-serving-") as folder:
        log = Path(log_file) if log_file else Path(folder) / "server.log"
        tries = _PORTS_TRIED if port == 0 else 1
        while True:
            tries -= 1
            # What an earlier server said stays, and is not taken for this one's.
            start = log.stat().st_size if log.exists() else 0
            process = _start(flags, port, binary, log, environment or {})
            try:
                address = _wait_until_listening(process, log, start, ready_timeout_s)
            except ServingError:
                _stop(process, stop_timeout_s)
                if tries and _PORT_TAKEN.search(_said(log, start).decode(errors="replace")):
                    continue
                raise
            except BaseException:
                _stop(process, stop_timeout_s)
                raise
            break
        try:
            yield ServerProcess(address, process, log, start)
        finally:
            _stop(process, stop_timeout_s)


def _start(
    flags: Sequence[str],
    port: int,
    binary: str | Path | None,
    log: Path,
    environment: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    if binary is not None and port == 0:  # The real one has no flag for a free port.
        port = _free_port()
    command = [*_GUARD, str(binary)] if binary else _OUR_SERVER
    with log.open("ab") as output:
        return subprocess.Popen(
            [*command, f"--port={port}", *flags],
            # Our server, and the guard of another, stop when this pipe closes, which the kernel
            # sees to if we die.
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**_environment(), **environment},
        )


def _environment() -> dict[str, str]:
    """This process's environment, with our package importable from wherever it lies."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH", "")
    return {
        **os.environ,
        "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root,
        "ASSAY_EXIT_WITH_STDIN": "1",
    }


def _said(log: Path, start: int) -> bytes:
    """What a server has logged so far."""
    with log.open("rb") as content:
        content.seek(start)
        return content.read()


def _wait_until_listening(
    process: subprocess.Popen[bytes], log: Path, start: int, timeout_s: float
) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        listening = _RUNNING.search(_said(log, start))
        if process.poll() is not None:
            raise _not_ready(f"the model server ended with code {process.returncode}", log, start)
        if listening:
            return f"127.0.0.1:{int(listening[1])}"
        time.sleep(0.02)
    raise _not_ready(f"the model server was not ready within {timeout_s:g} s", log, start)


def _not_ready(headline: str, log: Path, start: int) -> ServingError:
    lines = _said(log, start).decode(errors="replace").splitlines()[-_TAIL_LINES:]
    tail = "\n".join(f"  {line}" for line in lines) or "  (it logged nothing)"
    return ServingError(headline, hint=f"The end of its log:\n{tail}")


def _stop(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(timeout_s)
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
