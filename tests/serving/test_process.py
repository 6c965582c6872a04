"""The server as a process of its own: ready, dead, stopped, orphaned."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from serving.client import Client
from serving.process import model_server_process
from tfx_pipeline.errors import ServingError

pytestmark = pytest.mark.slow
Push = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]


def _gone(pid: int, timeout_s: float = 15.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True  # ended; its new parent has yet to collect it
        time.sleep(0.05)
    return False


def _server_pid(model_name: str) -> int:
    """The process that was told to serve a model, found in /proc by its flags."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"--model_name={model_name}".encode() in command.split(b"\0"):
                return int(entry.name)
    raise AssertionError("no such process")


def test_sigterm_drains_and_nothing_is_left(
    tmp_path: Path, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ready, answers; SIGTERM lets the running request finish; quiet but for its own log.

    Runs through `binary`, as the real tensorflow_model_server would: a command with its flags.
    """
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    push(tmp_path / "base", 1)
    log = tmp_path / "server.log"
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} -m serving.server.main "$@"\n')
    binary.chmod(0o755)
    outcome: list[object] = []
    with model_server_process("drain", tmp_path / "base", binary=binary, log_file=log) as address:
        pid = _server_pid("drain")
        with Client(address, timeout_s=30) as client:
            assert client.predict("drain", [{"fare": 2.0}])["score"].item() == 3.0

            def ask() -> None:
                steps = {"steps": np.int64(200_000)}
                outcome.append(client.predict("drain", steps, signature_name="slow"))

            thread = threading.Thread(target=ask)
            thread.start()
            time.sleep(0.3)
            assert thread.is_alive()
            os.kill(pid, signal.SIGTERM)
            thread.join()
        assert _gone(pid)
    assert len(outcome) == 1
    assert "value" in outcome[0]
    lines = log.read_text().splitlines()
    assert lines[-1].endswith("I stopped")
    foreign = [line for line in lines if not re.match(r"\d{4}-\d\d-\d\d \S+ [IWE] ", line)]
    assert foreign == []


def test_port_taken_is_told_with_the_log(tmp_path: Path, push: Push) -> None:
    push(tmp_path, 1)
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ServingError) as caught,
            model_server_process("taken", tmp_path, port=port),
        ):
            pass
    assert caught.value.headline == "the model server ended with code 10"
    assert f"cannot listen on port {port} of 127.0.0.1" in caught.value.hint


def test_damaged_model_is_told_and_the_server_stopped(tmp_path: Path, push: Push) -> None:
    (push(tmp_path / "bad", 1) / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(ServingError) as caught, model_server_process("bad", tmp_path / "bad"):
        pass
    assert "model bad version 1 cannot be loaded" in caught.value.headline
    assert "nothing is served yet" in caught.value.hint
    with pytest.raises(AssertionError):
        _server_pid("bad")


def test_kill_of_the_parent_leaves_no_server(tmp_path: Path, push: Push) -> None:
    push(tmp_path / "base", 1)
    script = (
        "import time\nfrom serving.process import model_server_process\n"
        f"with model_server_process('orphan', {str(tmp_path / 'base')!r}) as address:\n"
        "    print(address, flush=True)\n    time.sleep(60)\n"
    )
    # Killed, it cannot remove its temporary folder: that goes where pytest cleans up.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        address = run.stdout.readline().decode()
        assert address.startswith("127.0.0.1:")
        with socket.socket() as probe:  # Nobody else on the network is asked to.
            assert probe.connect_ex(("127.0.0.2", int(address.partition(":")[2]))) != 0
        pid = _server_pid("orphan")
        run.kill()
    assert _gone(pid)


def test_never_ready(tmp_path: Path) -> None:
    with (
        pytest.raises(ServingError, match=r"not available within|not ready within") as caught,
        model_server_process("empty", tmp_path, ready_timeout_s=1.0),
    ):
        pass
    assert "The end of its log" in caught.value.hint
    with pytest.raises(AssertionError):
        _server_pid("empty")


def test_the_server_imports_no_keras() -> None:
    """A quarter of its start, and pandas with it; what comes after may import it all the same."""
    script = (
        "import sys\nfrom serving.server.main import without_keras\n"
        "with without_keras():\n    from serving.server import running\n"
        "print(sorted({'keras', 'tf_keras', 'pandas'} & set(sys.modules)))\n"
        "import tf_keras; print(tf_keras.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\ntf_keras\n", done.stderr


def test_client_imports_no_tensorflow() -> None:
    script = (
        "import sys, serving.client, serving.process, serving.cli\n"
        "heavy = {'tensorflow', 'tfx', 'tensorflow_serving', 'pandas', 'pyarrow', 'tf_keras'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_the_client_is_imported_in_half_a_second() -> None:
    script = (
        "import time; started = time.process_time()\n"
        "from serving.client import Client, RestClient\n"
        "print(time.process_time() - started)"
    )

    def seconds() -> float:
        words = [sys.executable, "-c", script]
        return float(subprocess.run(words, cwd=ROOT, capture_output=True, check=True).stdout)

    assert min(seconds() for _ in range(3)) < 0.5


@pytest.mark.parametrize("flag", ["port", "rest_api_port"])
def test_a_taken_port_is_told_before_tensorflow_is_imported(flag: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        flags = [
            "--port=0",
            "--bind_address=127.0.0.1",
            "--model_base_path=/m",
            f"--{flag}={taken.getsockname()[1]}",
        ]
        script = (
            "import sys\nfrom serving.server.main import main\n"
            f"print(main({flags}), 'tensorflow' in sys.modules)"
        )
        words = [sys.executable, "-c", script]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == f"{ServingError.exit_code} False\n", done.stderr
    assert f"choose another port with --{flag}" in done.stderr
