"""The gate's server: ports, loads, faults, and that nothing is left of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import serving.process
from tests.gates.serving.conftest import QUICK, Export, World
from tfx_pipeline.errors import ServingError
from tfx_pipeline.gates.serving import footprint
from tfx_pipeline.gates.serving.latency import latency
from tfx_pipeline.gates.serving.replay import replay
from tfx_pipeline.gates.serving.servers import ModelServer, Servers, model_server
from tfx_pipeline.gates.serving.settings import Settings

pytestmark = pytest.mark.slow
REPO = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def served(server: ModelServer, world: World) -> ModelServer:
    """The server with model `a`."""
    server.load("a", world.float_model)
    return server


def test_models_answer_beside_each_other(served: ModelServer, world: World, export: Export) -> None:
    rows = world.rows().serialized
    with served.client() as client:
        before = replay(client, "a", rows, 64)
        assert before.shape == (len(rows),)
        assert served.load("b", export("wrong", sign=-1.0)) > 0
        assert np.corrcoef(before, replay(client, "b", rows, 64))[0, 1] < 0
        np.testing.assert_allclose(replay(client, "a", rows, 50), before, atol=1e-6)
        with pytest.raises(ServingError, match="Servable not found"):
            replay(client, "c", rows, 64)


def test_a_models_memory_is_what_the_server_grows_by(
    served: ModelServer, world: World, tmp_path: Path
) -> None:
    import tensorflow as tf

    class Large(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(tf.random.normal([10_000_000]))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def ask(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"predictions": tf.strings.length(examples) + tf.size(self.weights[:1])}

    model, folder = Large(), tmp_path / "large"
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.ask})
    for name in ("large", "large_again"):  # and the second is not given the first one's
        before = footprint.resident_bytes(served.pid)
        served.load(name, folder)
        assert 38e6 < footprint.resident_bytes(served.pid) - before < 90e6
    assert footprint.served_bytes(folder, runs_core=False) > 40_000_000
    assert footprint.disk_bytes(folder) > footprint.served_bytes(folder, runs_core=False)


def test_a_request_that_fails_ends_the_measurement(served: ModelServer) -> None:
    with served.client() as client, pytest.raises(ServingError, match="requests failed"):
        latency(client, "a", "a", [b"no tf.Example"], QUICK)


def test_a_load_that_fails_says_why(served: ModelServer, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(ServingError, match="it does not load: "):
            served.load(folder.name, folder)
    assert served.why_ended() == ""


def test_a_taken_port_is_left_to_its_owner(
    faulty_settings: Settings, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A binary is told its port, and somebody may be quicker. And a server is started anew, in
    the log after the others."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [taken.getsockname()[1]]
        free = serving.process._free_port
        monkeypatch.setattr(serving.process, "_free_port", lambda: ports.pop() if ports else free())
        log = tmp_path / "server.log"
        with Servers(faulty_settings, log) as servers:
            first = servers.get()
            assert ports == []
            first.load("a", world.float_model)
            assert servers.get() is first
            assert not first.is_ours
            os.kill(first.pid, signal.SIGKILL)
            while not first.why_ended():
                time.sleep(0.02)
            assert first.why_ended() == "the model server was ended by SIGKILL"
            second = servers.get()
            second.load("a", world.float_model)
    assert second.why_ended()
    said = log.read_text()
    assert said.count("Running gRPC ModelServer at") == 2
    assert said.index(first.address) < said.index(second.address)


def test_a_server_that_cannot_start_is_told(tmp_path: Path) -> None:
    settings = Settings(binary=shutil.which("false") or "/bin/false")
    with pytest.raises(ServingError, match="ended with code 1"), model_server(settings):
        pass


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_killed_gate_leaves_no_server(
    is_ours: bool, faulty_settings: Settings, tmp_path: Path
) -> None:
    binary = "" if is_ours else faulty_settings.binary
    script = (
        "import time\n"
        "from tfx_pipeline.gates.serving.servers import model_server\n"
        "from tfx_pipeline.gates.serving.settings import Settings\n"
        f"with model_server(Settings(binary={binary!r})) as server:\n"
        "    print(server.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPO, env=environment, stdout=subprocess.PIPE
    ) as gate:
        assert gate.stdout is not None
        pid = int(gate.stdout.readline())
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        assert len(family) == (1 if is_ours else 2)  # another's server has its guard
        gate.kill()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and any(_runs(process) for process in family):
        time.sleep(0.05)
    assert not any(_runs(process) for process in family)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
