"""Servers and load generators as processes of their own, for `serving.py`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load import Generator
from payloads import read_payloads

HERE = Path(__file__).absolute().parent
ROOT = HERE.parent.parent
PREDICT = "/tensorflow.serving.PredictionService/Predict"
HEALTH = "/grpc.health.v1.Health/Check"
CONNECTIONS = 32
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ASSAY_EXIT_WITH_STDIN": "1",
}
_READY_S = 60.0
_BATCHING = """\
max_batch_size { value: 32 }
batch_timeout_micros { value: 0 }
num_batch_threads { value: 1 }
max_enqueued_batches { value: 1000 }
"""


@dataclass(frozen=True)
class Kind:
    """A server to measure.

    Attributes:
        name: As the table has it.
        key: As `--only` has it.
        flags: Ours: its flags.
        method: What Predict is called.
        payloads: File of its requests.
    """

    name: str
    key: str
    flags: tuple[str, ...] = ()
    method: str = PREDICT
    payloads: str = "predict.bin"

    @property
    def ours(self) -> bool:
        return bool(self.flags)


@dataclass
class Server:
    """One that answers.

    Attributes:
        start_s: From the start of the process to its first answer of the model.
    """

    kind: Kind
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    start_s: float = 0.0


@contextmanager
def running(kind: Kind, folder: Path, base: Path, mlserver: Path | None = None) -> Iterator[Server]:
    """A server, from when it answers a Predict until the end of the block.

    Args:
        kind: Which one.
        folder: Of the requests; logs and settings go there.
        base: Of the model's versions; the servers that are not ours take version 1.
        mlserver: The Python that has MLServer.
    """
    port = free_port()
    log = folder / f"{kind.key}.log"
    command = _command(kind, port, folder, base, mlserver)
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=ENVIRONMENT
        )
    server = Server(kind, port, process, log)
    try:
        large = "large.bin" if base.name == "large" else kind.payloads
        _wait_until_ready(server, read_payloads(folder / large)[0], started)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _command(
    kind: Kind, port: int, folder: Path, base: Path, mlserver: Path | None
) -> Sequence[str]:
    if kind.key == "threads":
        return [sys.executable, str(HERE / "threads.py"), str(port), str(base / "1")]
    if kind.key == "mlserver":
        script = str(HERE / "runtime.py")
        settings = str(folder / "mlserver")
        return [str(mlserver), script, "serve", str(port), str(base / "1"), settings]
    parameters = folder / "batching.pbtxt"
    parameters.write_text(_BATCHING)
    return [
        *(sys.executable, "-m", "serving.server.main", "--bind_address=127.0.0.1"),
        *(f"--port={port}", "--model_name=mlp", f"--model_base_path={base}"),
        *("--enable_grpc_healthcheck_service", "--drain_seconds=2"),
        *(flag.format(batching=parameters) for flag in kind.flags),
    ]


def _wait_until_ready(server: Server, payload: bytes, started: float) -> None:
    while time.monotonic() < started + _READY_S:
        if server.process.poll() is not None:
            break
        try:
            codes = ask(server.port, server.kind.method, payload)
        except OSError:
            codes = {}
        if set(codes) == {"OK"}:
            server.start_s = time.monotonic() - started
            return
        time.sleep(0.01)
    sys.exit(f"{server.kind.name} did not get ready:\n{tail(server.log)}")


def ask(port: int, method: str, payload: bytes) -> dict[str, int]:
    """Calls once, on a new connection; how it ended, to 1."""
    generator = Generator(port, method, [payload], 1)
    try:
        return generator.run(0.0, None).codes
    finally:
        generator.close()


def load(
    server: Server,
    folder: Path,
    seconds: float,
    *,
    rate: float | None = None,
    method: str = "",
    payloads: str = "",
    samples: Path | None = None,
) -> dict[str, Any]:
    """Loads a server from another process; its figures, as `load.py` prints them."""
    process = start_load(
        server,
        folder,
        seconds,
        rate=rate,
        method=method,
        payloads=payloads,
        samples=samples,
    )
    return finish_load(process)


def start_load(
    server: Server,
    folder: Path,
    seconds: float,
    *,
    rate: float | None = None,
    method: str = "",
    payloads: str = "",
    samples: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Starts to load a server; `finish_load` takes the figures."""
    command = [
        *(sys.executable, str(HERE / "load.py"), f"--port={server.port}"),
        f"--method={method or server.kind.method}",
        f"--payloads={folder / (payloads or server.kind.payloads)}",
        *(f"--connections={CONNECTIONS}", f"--seconds={seconds}", f"--pid={server.process.pid}"),
        *([f"--rate={rate}"] if rate else []),
        *([f"--samples={samples}"] if samples else []),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT)


def finish_load(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    output, _ = process.communicate()
    if process.returncode:
        sys.exit("the load generator failed")
    figures: dict[str, Any] = json.loads(output)
    return figures


def run(*words: object) -> str:
    """What a command printed; the benchmark ends with what it said if it fails."""
    command = [str(word) for word in words]
    with tempfile.TemporaryFile() as errors:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=errors, env=ENVIRONMENT, cwd=ROOT, check=False
        )
        if done.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace").splitlines()[-20:]
            sys.exit("\n".join([f"{' '.join(command)} failed:", *said]))
    return done.stdout.decode()


def free_port() -> int:
    """A TCP port that is free, with the two after it (MLServer takes three)."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
        try:
            for number in (port, port + 1, port + 2):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        return port


def memory_bytes(pid: int) -> int:
    """The resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
