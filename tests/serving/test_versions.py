"""Version directories that come, go, are half-written or damaged, under a running server."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from serving.client import Client, RequestFailed
from serving.server.loaded import State
from serving.server.options import ServerOptions
from serving.server.running import RunningServer, start
from serving.server.saved_model import load
from serving.server.versions import ServedModel
from tfx_pipeline.errors import ServingError

X = {"x": np.ones((1, 3), np.float32)}
Push = Callable[..., Path]


def _states(model: ServedModel) -> dict[int, State]:
    return {version: status.state for version, status in model.statuses().items()}


def _served(model: ServedModel) -> float:
    with model.lease() as (_, loaded):
        return float(loaded.run("dense", X, ["y"])["y"].item())


def test_latest_version_replaces_and_rolls_back(tmp_path: Path, push: Push) -> None:
    model = ServedModel("m", tmp_path, load)
    push(tmp_path, 9, scale=2)
    model.poll()
    assert _served(model) == 6.0
    push(tmp_path, 10, scale=3)  # 10 follows 9 as a number, not as text
    model.poll()
    assert _served(model) == 9.0
    assert _states(model) == {10: State.AVAILABLE, 9: State.END}
    shutil.rmtree(tmp_path / "10")
    model.poll()
    assert _served(model) == 6.0
    shutil.rmtree(tmp_path / "9")
    model.poll()
    assert not model.available()


def test_base_path_that_goes_away_keeps_the_model(tmp_path: Path, push: Push) -> None:
    base = tmp_path / "base"
    model = ServedModel("m", base, load)
    model.poll()  # not there yet: waits
    assert not model.available()
    push(base, 1)
    model.poll()
    base.rename(tmp_path / "away")
    model.poll()
    assert model.available()


def test_folders_being_written_are_ignored(tmp_path: Path, push: Push) -> None:
    model = ServedModel("m", tmp_path, load)
    push(tmp_path, 1)
    push(tmp_path, 5).rename(tmp_path / ".tmp-5")
    (tmp_path / "6").mkdir()  # a number, and nothing in it yet
    (tmp_path / "7").write_text("a file")
    model.poll()
    assert _states(model) == {1: State.AVAILABLE}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "saved_model.pb").write_bytes(b"\x00damaged"),
        lambda path: (path / "variables" / "variables.index").write_bytes(b"damaged"),
        lambda path: shutil.rmtree(path / "variables"),
    ],
    ids=["graph", "variables", "no-variables"],
)
def test_damaged_version_leaves_the_old_one_serving(
    tmp_path: Path, push: Push, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    model = ServedModel("m", tmp_path, load)
    push(tmp_path, 1)
    model.poll()
    damage(push(tmp_path, 2, scale=3))
    model.poll()
    model.poll()
    assert _served(model) == 6.0
    status = model.statuses()[2]
    assert status.state is State.END
    assert status.code
    assert status.message
    told = [record.message for record in caplog.records if "cannot be loaded" in record.message]
    assert len(told) == 1
    assert "version 1 goes on" in told[0]
    shutil.rmtree(tmp_path / "2")
    push(tmp_path, 2, scale=3)  # mended: tried again
    model.poll()
    assert _served(model) == 9.0


def test_requests_in_flight_keep_their_version(tmp_path: Path, push: Push) -> None:
    model = ServedModel("m", tmp_path, load)
    push(tmp_path, 1)
    model.poll()
    with model.lease() as (version, loaded):
        push(tmp_path, 2, scale=3)
        model.poll()
        assert version == 1
        assert _states(model)[1] is State.UNLOADING
        assert loaded.run("dense", X, ["y"])["y"].item() == 6.0
    _wait(lambda: _states(model) == {2: State.AVAILABLE, 1: State.END})


@pytest.mark.slow
def test_swaps_under_load_fail_no_request(tmp_path: Path, push: Push) -> None:
    push(tmp_path, 1, scale=2)
    options = ServerOptions(
        port=0, model_base_path=str(tmp_path), model_name="m", file_system_poll_wait_seconds=1
    )
    with start(options) as running:
        stop, answers, failures = threading.Event(), [set(), set()], []

        def ask(seen: set[float]) -> None:
            with Client(f"127.0.0.1:{running.port}") as client:
                while not stop.is_set():
                    try:
                        seen.add(client.predict("m", X, signature_name="dense")["y"].item())
                    except ServingError as error:
                        failures.append(error)

        threads = [threading.Thread(target=ask, args=(seen,)) for seen in answers]
        for thread in threads:
            thread.start()
        with Client(f"127.0.0.1:{running.port}") as client:
            for version, scale in ((2, 3), (3, 2)):
                push(tmp_path, version, scale)
                _wait(lambda v=version: _available(client) == [v])
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert answers[0] | answers[1] == {6.0, 9.0}


def _available(client: Client) -> list[int]:
    return [entry.version for entry in client.status("m") if entry.state == "AVAILABLE"]


def _wait(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def test_stop_lets_requests_finish_and_takes_no_more(tmp_path: Path, push: Push) -> None:
    push(tmp_path, 1)
    running = start(ServerOptions(port=0, model_base_path=str(tmp_path), model_name="m"))
    outcome: list[object] = []
    with Client(f"127.0.0.1:{running.port}", timeout_s=30) as client:
        client.wait_ready("m", 5)

        def ask() -> None:
            steps = {"steps": np.int64(100_000)}
            outcome.append(client.predict("m", steps, signature_name="slow"))

        thread = threading.Thread(target=ask)
        thread.start()
        _wait(lambda: running.core.in_flight() == 1)
        running.stop(grace_s=30)
        thread.join()
    assert len(outcome) == 1
    assert "value" in outcome[0]
    with Client(f"127.0.0.1:{running.port}", timeout_s=1) as late, pytest.raises(RequestFailed):
        late.status("m")


def test_start_says_why_a_model_is_not_served(tmp_path: Path, push: Push) -> None:
    options = ServerOptions(port=0, model_base_path=str(tmp_path), model_name="m")
    with pytest.raises(ServingError, match=r"no version of model m became available in 0\.2 s"):
        start(options, ready_timeout_s=0.2)
    (push(tmp_path, 1) / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(ServingError, match="model m cannot be loaded: "):
        start(options)


def test_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=f"cannot listen on port {port}") as caught:
            start(ServerOptions(port=port, model_base_path=str(tmp_path)))
    assert "--port" in caught.value.hint


def test_port_of_another_model_server(server: RunningServer, tmp_path: Path) -> None:
    """Two servers must not share a port: each would get some of the other's requests."""
    with pytest.raises(ServingError, match=f"cannot listen on port {server.port}"):
        start(ServerOptions(port=server.port, model_base_path=str(tmp_path)))
