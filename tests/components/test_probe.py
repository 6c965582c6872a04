"""After a push the server in production is asked for the new version, over a real socket."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.client import Client
from serving.process import server_process
from tests.components.conftest import Small
from tfx_pipeline.components.pusher.probe import Probe
from tfx_pipeline.errors import ServingError

MODEL = "small"


class Production:
    """A server that reads a folder of versions, and pushes into it."""

    def __init__(self, base: Path, address: str) -> None:
        self.base = base
        self.address = address

    def push(
        self, model: Path, to: str | None = None, timeout_s: float = 20.0, push_id: str = ""
    ) -> str:
        """Runs the Pusher's executor; the version's number."""
        from tfx.types import standard_artifacts as kinds
        from tfx.utils import json_utils

        from tfx_pipeline.components.pusher.executor import Executor

        trained, blessing, pushed = kinds.Model(), kinds.ModelBlessing(), kinds.PushedModel()
        trained.uri = str(model)
        blessing.set_int_custom_property("blessed", 1)
        pushed.uri = str(self.base.parent / f"pushed-{len(list(self.base.parent.iterdir()))}")
        probe = Probe(to or self.address, MODEL, timeout_s)
        Executor().Do(
            {"model": [trained], "model_blessing": [blessing]},
            {"pushed_model": [pushed]},
            {
                "push_destination": f'{{"filesystem": {{"base_directory": "{self.base}"}}}}',
                "custom_config": json_utils.dumps(probe.to_custom_config()),
                "push_id": push_id,
            },
        )
        return str(pushed.get_string_custom_property("pushed_version"))

    @property
    def versions(self) -> list[str]:
        return sorted(entry.name for entry in self.base.iterdir() if entry.is_dir())

    def served(self) -> int:
        with Client(self.address) as client:
            [status] = [s for s in client.status(MODEL) if s.state == "AVAILABLE"]
        return status.version


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    base = tmp_path_factory.mktemp("production") / MODEL
    base.mkdir()
    flags = [
        f"--model_name={MODEL}",
        f"--model_base_path={base}",
        "--file_system_poll_wait_seconds=1",
        "--max_num_load_retries=0",
    ]
    with server_process(flags) as server:
        yield Production(base, server.address)


@pytest.fixture(scope="module")
def models(small: Small, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models as the serving gate leaves them: with warm-up requests made of real rows."""
    from serving.warmup_file import write_warmup
    from tfx_pipeline.gates.serving.rows import sample

    rows, _ = sample(small.examples / "Split-eval", 8)
    root = tmp_path_factory.mktemp("models")
    for quality in ("good", "nan"):
        shutil.copytree(small.model("binary", quality), root / quality)
        write_warmup(root / quality / "Format-Serving", rows)
    shutil.copytree(root / "good", root / "truncated")
    graph = root / "truncated" / "Format-Serving" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:100])
    return {folder.name: folder for folder in root.iterdir()}


def test_versions_that_answer_stay_and_others_are_taken_back(
    production: Production, models: dict[str, Path]
) -> None:
    """One story, for each push has to follow a good one."""
    with pytest.raises(ServingError, match=r"taken back.*cannot be loaded") as first:
        production.push(models["truncated"])
    assert "none is left" in first.value.hint
    assert production.versions == []

    good = production.push(models["good"])
    assert production.versions == [good]
    assert production.served() == int(good)

    for broken, said in (("nan", "predictions .*nan"), ("truncated", "cannot be loaded")):
        with pytest.raises(ServingError, match=said) as refused:
            production.push(models[broken])
        assert f"Version {good} serves again" in refused.value.hint
        assert production.versions == [good]
        assert production.served() == int(good)

    newer = production.push(models["good"])
    assert production.versions == [good, newer]
    assert production.served() == int(newer)


def test_a_server_that_is_not_there(production: Production, models: dict[str, Path]) -> None:
    before = production.versions
    with pytest.raises(ServingError, match="taken back: model small version") as refused:
        production.push(models["good"], to="127.0.0.1:1", timeout_s=0.5)
    assert "serve.address 127.0.0.1:1" in refused.value.where
    assert production.versions == before


def test_a_version_that_an_earlier_run_pushed_is_not_taken_back(
    production: Production, models: dict[str, Path]
) -> None:
    """Only `serve.address` has changed since: the push is the same, and its version serves."""
    version = production.push(models["good"], push_id="the same")
    with pytest.raises(ServingError, match="pushed by an earlier run") as refused:
        production.push(models["good"], to="127.0.0.1:1", timeout_s=0.5, push_id="the same")
    assert "left where it is" in refused.value.hint
    assert version in production.versions
    assert production.served() == int(version)


def test_the_warm_up_rows_are_those_that_are_asked(models: dict[str, Path]) -> None:
    from tfx_pipeline.components.pusher import probe

    [row] = probe._warmup_rows(models["good"] / "Format-Serving")
    assert b"group" in row
    assert probe._warmup_rows(models["good"]) == []


def test_nobody_is_asked_without_an_address() -> None:
    given: Any = Probe("host:1", "m", 2.0).to_custom_config()
    assert Probe.read(given) == Probe("host:1", "m", 2.0)
    assert Probe.read(None) is None
    assert Probe.read({"other": 1}) is None
