"""One node in a process of its own: its record, its retries, the database between processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import filelock
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from tests.conformance import pipeline
from tests.conformance.lineage import lineage
from tests.conformance.pipeline import NODES
from tfx_pipeline.config import PipelineConfig
from tfx_pipeline.errors import Busy, ConfigError, Transient
from tfx_pipeline.report import record as records
from tfx_pipeline.report.record import RunRecord
from tfx_pipeline.runners import lone_node, mlmd
from tfx_pipeline.runners.compiled import Compiled, compile_config
from tfx_pipeline.runners.lone_node import NotCached, run_lone_node
from tfx_pipeline.runners.node import State


@pytest.fixture
def compiled(config: PipelineConfig) -> Compiled:
    return compile_config(config, pipeline.create)


def run(compiled: Compiled, *nodes: str, run_id: str = "r") -> RunRecord:
    for node in nodes:
        outcome, record = run_lone_node(compiled, node, run_id, runner="airflow")
        assert outcome.error is None
    return record


def test_the_record_grows_with_every_node(compiled: Compiled, config: PipelineConfig) -> None:
    record = run(compiled, *NODES[:3])
    assert record.state == "running"
    assert record.runner == "airflow"
    states = [node.state for node in record.nodes.values()]
    assert states == ["complete"] * 3 + ["waiting"] * 4
    assert records.load(config.root, "latest") == record
    assert not record.can_resume
    record = run(compiled, *NODES[3:])
    assert (record.state, record.exit_code) == ("complete", 0)
    assert (config.root / "r" / records.CONFIG_FILE).exists()


def test_a_refusal_is_the_runs_end(compiled: Compiled, config: PipelineConfig) -> None:
    (config.folder / "refuse").touch()
    record = run(compiled, *NODES)
    assert record.nodes["Push"].state == "skipped"
    assert (record.state, record.exit_code) == ("refused", 5)


def test_a_failed_node_can_be_run_again(compiled: Compiled, config: PipelineConfig) -> None:
    run(compiled, "Source")
    (config.folder / "A").write_text("raise")
    outcome, record = run_lone_node(compiled, "A", "r")
    assert outcome.error is not None
    assert "told to raise" in outcome.error.headline
    assert "go on with `assay run-node` again" in record.nodes["A"].error
    assert (record.state, record.exit_code) == ("failed", 6)
    (config.folder / "A").unlink()
    record = run(compiled, "A")
    assert (record.state, record.error) == ("running", "")
    assert (record.nodes["A"].state, record.nodes["A"].tries) == ("complete", 2)


def test_a_node_is_not_run_twice_in_a_run(compiled: Compiled, config: PipelineConfig) -> None:
    run(compiled, "Source", "A")
    outcome, _ = run_lone_node(compiled, "A", "r")
    assert outcome.state is State.REUSED
    assert (config.folder / "A.tries").read_text() == "x"


def test_without_executing_only_cached_nodes_are_answered(
    compiled: Compiled, config: PipelineConfig
) -> None:
    with pytest.raises(NotCached):
        run_lone_node(compiled, "Source", "r", execute=False)
    assert not (config.root / "r").exists()
    [found] = lineage(config.root / "metadata.db", "r")
    assert found["state"] == "RUNNING"
    run(compiled, "Source")  # It goes on with that execution.
    [found] = lineage(config.root / "metadata.db", "r")
    assert found["state"] == "COMPLETE"
    outcome, record = run_lone_node(compiled, "Source", "s", execute=False)
    assert outcome.state is State.CACHED
    assert record.nodes["Source"].artifacts["out"]


def test_nodes_are_run_in_the_order_of_the_graph(
    compiled: Compiled, config: PipelineConfig
) -> None:
    with pytest.raises(ConfigError, match="Join reads from B, C, which run r has not completed"):
        run_lone_node(compiled, "Join", "r")
    run(compiled, "Source", "A", "B")
    with pytest.raises(ConfigError, match="Join reads from C, which"):
        run_lone_node(compiled, "Join", "r")


def test_a_line_that_the_record_has_lost_is_found_in_mlmd(
    compiled: Compiled, config: PipelineConfig
) -> None:
    """Two machines that write the record at once, where no lock reaches both."""
    record = run(compiled, "Source", "A", "B")
    run(compiled, "C")
    records.save(record, config.root)
    assert records.load_exactly(config.root, "r").nodes["C"].state == "waiting"
    record = run(compiled, "Join")
    assert record.nodes["C"].state == "complete"
    assert record.nodes["C"].artifacts["out"]
    assert run(compiled, "Gate", "Push").state == "complete"


def test_a_record_that_another_process_holds(
    compiled: Compiled, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lone_node, "_PATIENCE_S", 0.1)
    run(compiled, "Source")
    with filelock.FileLock(config.root / "r" / ".record.lock"), pytest.raises(Busy, match="record"):
        run_lone_node(compiled, "A", "r")
    run(compiled, "A")


def test_no_such_node(compiled: Compiled) -> None:
    with pytest.raises(ConfigError, match="no such node: Pusher"):
        run_lone_node(compiled, "Pusher", "r")


HOLD = """
import sys
from pathlib import Path
from tfx_pipeline.runners.mlmd import database_lock
with database_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_database_that_another_process_holds(
    compiled: Compiled, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch, repo: Path
) -> None:
    """It is waited for; but not for ever, and whoever gives up says why."""
    monkeypatch.setattr(mlmd, "_PATIENCE_S", 0.2)
    config.root.mkdir(exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(config.root / "metadata.db")],
        cwd=repo, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        outcome, _ = run_lone_node(compiled, "Source", "r")
        assert isinstance(outcome.error, Busy)
        assert "postgresql" in outcome.error.hint
        with pytest.raises(Busy):
            run_lone_node(compiled, "Source", "r", execute=False)
        other.kill()
    run(compiled, "Source")


@pytest.mark.parametrize(
    "server",
    [
        {"postgresql": {"host": "127.0.0.1", "port": "1", "user": "u", "dbname": "mlmd"}},
        {"mysql": {"host": "127.0.0.1", "port": 1, "user": "u", "database": "mlmd"}},
    ],
)
def test_a_server_that_is_not_there_is_told(server: dict[str, Any]) -> None:
    [backend] = server
    handle = mlmd.SerializedMetadata(metadata_store_pb2.ConnectionConfig(**server))
    said = f"{backend} at 127.0.0.1:1 does not let user 'u' into database 'mlmd'"
    with pytest.raises(Transient, match=said), handle:
        pass


def test_whoever_is_connected_to_sqlite_holds_its_lock(tmp_path: Path) -> None:
    database = tmp_path / "metadata.db"
    connection = metadata.sqlite_metadata_connection_config(str(database))
    other = filelock.FileLock(f"{database}.lock")
    twice = mlmd.SerializedMetadata(connection), mlmd.SerializedMetadata(connection)
    with twice[0], twice[1], pytest.raises(filelock.Timeout):
        other.acquire(timeout=0)
    with other.acquire(timeout=0):
        pass
