"""Version folders: whole or absent, one number each, nothing left over."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from tfx_pipeline.components.pusher import versions
from tfx_pipeline.errors import StorageError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    return folder


def _hidden(base: Path) -> list[str]:
    return [entry.name for entry in base.iterdir() if not entry.name.isdecimal()]


def test_a_version_holds_the_whole_model_and_a_recent_number(model: Path, tmp_path: Path) -> None:
    before = int(time.time())
    version = versions.publish(model, tmp_path / "base", push_id="a")
    assert before <= int(version.name) <= int(time.time())
    assert (version / "saved_model.pb").read_bytes() == b"graph"
    assert (version / "variables" / "variables.index").read_bytes() == b"index"
    assert _hidden(version.parent) == []


def test_two_pushes_in_one_second_get_two_numbers(model: Path, tmp_path: Path) -> None:
    first = versions.publish(model, tmp_path / "base", push_id="a")
    second = versions.publish(model, tmp_path / "base", push_id="b")
    assert int(second.name) > int(first.name)


def test_a_clock_that_went_back_still_counts_up(model: Path, tmp_path: Path) -> None:
    (tmp_path / "base" / "9999999999").mkdir(parents=True)
    assert versions.publish(model, tmp_path / "base", push_id="a").name == "10000000000"


def test_the_same_push_again_finds_its_version(model: Path, tmp_path: Path) -> None:
    first = versions.publish(model, tmp_path / "base", push_id="a")
    assert versions.publish(model, tmp_path / "base", push_id="a") == first


def _push_some(model: Path, base: Path, name: str, count: int) -> None:
    for index in range(count):
        versions.publish(model, base, push_id=f"{name}-{index}")


def test_many_processes_never_share_a_number(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    context = multiprocessing.get_context("fork")
    pushers = [context.Process(target=_push_some, args=(model, base, str(i), 5)) for i in range(8)]
    for pusher in pushers:
        pusher.start()
    for pusher in pushers:
        pusher.join(60)
    assert [pusher.exitcode for pusher in pushers] == [0] * 8
    pushed = [entry for entry in base.iterdir() if entry.name.isdecimal()]
    assert len(pushed) == 40
    assert all((version / "saved_model.pb").exists() for version in pushed)
    assert {versions._push_id(v) for v in pushed} == {
        f"{i}-{n}" for i in range(8) for n in range(5)
    }
    assert _hidden(base) == []


def _push_and_die(model: Path, base: Path) -> None:
    versions._rename_to_next = lambda folder, base: os.kill(os.getpid(), signal.SIGKILL)
    versions.publish(model, base, push_id="dead")


def test_a_kill_before_the_rename_leaves_no_version_and_is_swept(
    model: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    process = multiprocessing.get_context("fork").Process(target=_push_and_die, args=(model, base))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(_hidden(base)) == 1
    assert versions._versions(base) == []
    version = versions.publish(model, base, push_id="alive")
    assert [entry.name for entry in base.iterdir()] == [version.name]


def test_a_push_that_is_being_written_is_not_swept(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    with versions._hidden_folder(base) as folder:
        versions.publish(model, base, push_id="other")
        assert folder.exists()
    assert not folder.exists()


def test_a_full_disk_is_told_and_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        versions.publish(model, tmp_path / "base", push_id="a")
    assert list((tmp_path / "base").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_storage_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="not a folder"):
        versions.publish(model, tmp_path / "file", push_id="a")


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder nobody may write")
def test_a_forbidden_folder_is_a_storage_error(model: Path) -> None:
    with pytest.raises(StorageError):
        versions.publish(model, Path("/sys/kernel/assay"), push_id="a")


def test_a_version_that_is_taken_back_is_gone_and_its_number_is_not_given_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    base = tmp_path / "base"
    first = versions.publish(model, base, push_id="a")
    second = versions.publish(model, base, push_id="b")
    assert [first.name, second.name] == ["1000", "1001"]
    assert versions.withdraw(second) == "1000"
    assert not second.exists()
    assert versions.withdraw(first) == ""
    assert versions.newest_push(base, model) is None
    # A server remembers that 1001 could not be loaded.
    assert versions.publish(model, base, push_id="b").name == "1002"
