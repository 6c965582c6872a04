"""Models that are damaged, vanish, move, or lie behind links; what GetModelStatus says of them."""

from __future__ import annotations

import json
import os
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.client import Client, RequestFailed
from serving.server.loaded import State
from serving.server.policy import VersionPolicy
from serving.server.running import RunningServer, start
from serving.server.saved_model import load
from serving.server.status import Code
from serving.server.versions import Retries, ServedModel
from tfx_pipeline.errors import ServingError

Push = Callable[..., Path]
Wait = Callable[[Callable[[], object]], None]
X = {"x": np.ones((1, 3), np.float32)}


def _states(model: ServedModel) -> dict[int, State]:
    return {version: status.state for version, status in model.statuses().items()}


def _truncate(file: Path, parts: int = 2) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // parts])


def _flip_bytes(file: Path) -> None:
    file.write_bytes(bytes(byte ^ 0xFF for byte in file.read_bytes()))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("saved_model.pb", _truncate),
        ("saved_model.pb", lambda file: file.write_bytes(b"")),
        ("variables/variables.index", _truncate),
        ("variables/variables.data-00000-of-00001", _truncate),
        ("variables/variables.data-00000-of-00001", _flip_bytes),
        ("variables/variables.data-00000-of-00001", Path.unlink),
    ],
    ids=["half-graph", "empty-graph", "half-index", "half-data", "other-data", "no-data"],
)
def test_damaged_files(
    tmp_path: Path, push: Push, file: str, damage: Callable[[Path], object]
) -> None:
    """Each kind is told in the version's status, and the version before it goes on."""
    model = ServedModel("m", tmp_path, load)
    push(tmp_path, 1)
    model.poll()
    damage(push(tmp_path, 2, scale=3) / file)
    model.poll()
    status = model.statuses()[2]
    assert (status.state, status.code == 0, status.message == "") == (State.END, False, False)
    with model.lease() as (version, served):
        assert version == 1
        assert served.run("dense", X, ["y"])["y"].item() == 6.0
    model.close()


def test_a_load_that_breaks_in_an_unforeseen_way_has_failed(tmp_path: Path, push: Push) -> None:
    push(tmp_path, 1)

    def breaks(_: Path) -> Any:
        raise MemoryError("no memory left")

    model = ServedModel("m", tmp_path, breaks, retries=Retries(count=1, interval_s=0.0))
    model.poll()
    status = model.statuses()[1]
    assert (status.state, status.code) == (State.END, Code.UNKNOWN)
    assert status.message == "MemoryError: no memory left"
    assert model.next_retry_s() is not None


def test_files_that_vanish_while_they_are_loaded(tmp_path: Path, push: Push) -> None:
    def vanishing(path: Path) -> Any:
        shutil.rmtree(path)
        return load(path)

    push(tmp_path, 1)
    model = ServedModel("m", tmp_path, vanishing)
    model.poll()
    assert model.statuses()[1].state is State.END
    assert model.statuses()[1].code
    model.poll()
    assert not model.available()


@pytest.mark.parametrize("name", ["9223372036854775808", "9" * 200, "٣", "1e3", "-1", "1.0", " 1"])
def test_folders_that_are_no_version(tmp_path: Path, push: Push, name: str) -> None:
    """A version is an int64; no other name may disturb those that are."""
    push(tmp_path, 1)
    push(tmp_path, 2).rename(tmp_path / name)
    model = ServedModel("m", tmp_path, load)
    model.poll()
    assert _states(model) == {1: State.AVAILABLE}
    model.close()


def test_the_largest_version(tmp_path: Path, push: Push, options: Any) -> None:
    push(tmp_path, 2**63 - 1)
    with (
        start(options("--model_name=m", f"--model_base_path={tmp_path}")) as running,
        Client(f"127.0.0.1:{running.port}") as client,
    ):
        assert [entry.version for entry in client.status("m")] == [2**63 - 1]
        assert client.predict("m", X, signature_name="dense")["y"].item() == 6.0


def test_links_and_dots_are_followed(tmp_path: Path, push: Push) -> None:
    """As far as the file system allows; who may write the base path chooses what is served."""
    push(tmp_path / "store" / "a", 1)
    base = tmp_path / "base"
    base.mkdir()
    (base / "1").symlink_to(Path("..") / "store" / "a" / "1")
    (base / "2").symlink_to(base / "2")  # a loop
    (base / "3").symlink_to(tmp_path / "nowhere")
    (base / "4").symlink_to("/dev/null")
    (tmp_path / "link").symlink_to(base)
    for path in (base, tmp_path / "link", base / ".." / "base", base / ".." / "link" / "."):
        model = ServedModel("m", path, load)
        model.poll()
        assert _states(model) == {1: State.AVAILABLE}
        model.close()


@pytest.mark.parametrize("kind", ["file", "loop", "socket", "too-long", "zero-byte"])
def test_base_paths_that_cannot_be_read(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, and looked at again: it may be mended. Nothing raises."""
    base = tmp_path / ("x" * 300 if kind == "too-long" else "a\0b" if kind == "zero-byte" else kind)
    if kind == "file":
        base.write_text("no folder")
    elif kind == "loop":
        base.symlink_to(base)
    elif kind == "socket":
        os.mkfifo(base)
    model = ServedModel("m", base, load)
    model.poll()
    model.poll()
    assert not model.available()
    assert len([r for r in caplog.records if "cannot read the base path" in r.message]) == 1


def test_a_version_that_is_renamed_during_a_look_stays(
    tmp_path: Path, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing is no snapshot: a folder that changes its name may be in it nowhere."""
    push(tmp_path, 1)
    model = ServedModel("m", tmp_path, load)
    model.poll()
    listing, looks = Path.iterdir, []

    def missing_at_first(path: Path) -> Any:
        looks.append(path)
        return iter([]) if len(looks) == 1 else listing(path)

    monkeypatch.setattr(Path, "iterdir", missing_at_first)
    model.poll()
    assert len(looks) == 2
    assert _states(model) == {1: State.AVAILABLE}
    model.close()


@pytest.mark.slow
def test_versions_that_flip_under_load(
    tmp_path: Path, push: Push, front: str, options: Any
) -> None:
    """The base path is a link that points at one folder and at another by turns."""
    push(tmp_path / "a", 1, scale=2)
    push(tmp_path / "b", 2, scale=3)

    def point_to(name: str) -> None:
        (tmp_path / "new").symlink_to(tmp_path / name)
        (tmp_path / "new").rename(tmp_path / "base")

    point_to("a")
    flags = options(
        f"--grpc_front={front}", "--model_name=m", f"--model_base_path={tmp_path / 'base'}"
    )
    with start(flags) as running:
        stop, answers, failures = threading.Event(), [0.0], []

        def ask() -> None:
            with Client(f"127.0.0.1:{running.port}") as client:
                while not stop.is_set():
                    try:
                        answers.append(client.predict("m", X, signature_name="dense")["y"].item())
                    except ServingError as error:
                        failures.append(error)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(8):
            point_to("ba"[turn % 2])
            running.core.poll()  # from here, too: more often than the server would
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert set(answers) == {0.0, 6.0, 9.0}


@pytest.mark.slow
def test_status_through_a_versions_life(
    tmp_path: Path, push: Push, front: str, options: Any, wait: Wait
) -> None:
    """LOADING; then END with the load's error; AVAILABLE; END without one when it is gone."""
    push(tmp_path, 1)
    flags = options(
        f"--grpc_front={front}",
        "--model_name=m",
        f"--model_base_path={tmp_path}",
        "--rest_api_port=-1",
    )

    def over_rest(version: int) -> tuple[str, str]:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{running.rest_port}/v1/models/m", timeout=10
        ) as answer:
            listed = json.load(answer)["model_version_status"]
        [entry] = [entry for entry in listed if entry["version"] == str(version)]
        return entry["state"], entry["status"]["error_code"]

    with start(flags) as running, Client(f"127.0.0.1:{running.port}") as client:
        seen = _hold_loads(running, client)
        push(tmp_path, 2, scale=3)
        wait(lambda: seen)
        assert seen == [{1: "AVAILABLE", 2: "LOADING"}]

        damaged = push(tmp_path / "elsewhere", 3)
        (damaged / "saved_model.pb").write_bytes(b"damaged")
        damaged.rename(tmp_path / "3")
        wait(lambda: client.status("m")[0].message)
        assert (client.status("m")[0].version, client.status("m")[0].state) == (3, "END")
        assert over_rest(3)[0] == "END"
        assert over_rest(3)[1] != "OK"
        assert over_rest(2) == ("AVAILABLE", "OK")

        for version in (1, 2, 3):
            shutil.rmtree(tmp_path / str(version))
        wait(lambda: not running.core.available())
        wait(lambda: over_rest(2) == ("END", "OK"))
        with pytest.raises(RequestFailed) as caught:
            client.predict("m", X, signature_name="dense")
        assert caught.value.code == "NOT_FOUND"


def _hold_loads(running: RunningServer, client: Client) -> list[dict[int, str]]:
    """Has the next load ask the server for the model's status; returns where it puts that."""
    seen: list[dict[int, str]] = []
    model = running.core.model("m")
    assert model is not None
    through = model._load

    def ask_first(path: Path) -> Any:
        if not seen:
            seen.append({entry.version: entry.state for entry in client.status("m")})
        return through(path)

    model._load = ask_first
    return seen


@pytest.mark.parametrize("kind", ["latest", "all"])
def test_a_model_whose_files_vanish_unloads(tmp_path: Path, push: Push, kind: Any) -> None:
    push(tmp_path, 1)
    model = ServedModel("m", tmp_path, load, VersionPolicy(kind))
    model.poll()
    shutil.rmtree(tmp_path / "1")
    model.poll()
    assert _states(model) == {1: State.END}
