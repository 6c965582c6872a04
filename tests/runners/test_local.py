"""The local runner, on a real pipeline of small components that misbehave on request."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tfx.orchestration.local.local_dag_runner import LocalDagRunner

from tests.conformance.lineage import lineage
from tests.e2e.processes import Template, template
from tests.runners import doubles
from tests.runners.remembering import Remembering
from tfx_pipeline.config import PipelineConfig, load_config
from tfx_pipeline.errors import Busy, ConfigError, DataError, NodeFailed, StorageError, Transient
from tfx_pipeline.report import record as records
from tfx_pipeline.report.record import RunRecord, now
from tfx_pipeline.runners.local import RunOptions, run_pipeline
from tfx_pipeline.runners.local.folder import held, new_run_id

NODES = ["Source", "A", "B", "C", "Join"]


def run(config: PipelineConfig, display: Remembering, **options: object) -> RunRecord:
    return run_pipeline(config, RunOptions(**options), display, doubles.create)  # type: ignore[arg-type]


def order(config: PipelineConfig, node: str, what: str) -> None:
    (config.folder / node).write_text(what)


def tries(config: PipelineConfig, node: str) -> int:
    path = config.folder / f"{node}.tries"
    return len(path.read_text()) if path.exists() else 0


def states(record: RunRecord) -> dict[str, str]:
    return {name: node.state for name, node in record.nodes.items()}


def value(config: PipelineConfig, record: RunRecord, node: str) -> str:
    return Path(record.nodes[node].artifacts["out"][0].uri).read_text()


def test_runs_every_node_once_and_records_it(config: PipelineConfig, display: Remembering) -> None:
    record = run(config, display)
    assert display.nodes == NODES
    assert states(record) == dict.fromkeys(NODES, "complete")
    assert value(config, record, "Join") == "rows>A>B+rows>A>C"
    saved = records.load(config.root, "latest")
    assert saved == record
    assert saved.state == "complete"
    assert saved.exit_code == 0
    assert saved.versions["tfx"]
    assert (config.root / record.run_id / records.CONFIG_FILE).exists()


def test_a_second_run_takes_every_node_from_the_cache(
    config: PipelineConfig, display: Remembering
) -> None:
    run(config, display)
    record = run(config, display)
    assert states(record) == dict.fromkeys(NODES, "cached")
    assert tries(config, "A") == 1
    uncached = run(config.with_run(cache=False), display)
    assert states(uncached) == dict.fromkeys(NODES, "complete")


def test_leaves_the_lineage_that_local_dag_runner_leaves(
    config: PipelineConfig, display: Remembering, tmp_path: Path
) -> None:
    record = run(config, display)
    other = tmp_path / "other"
    other.mkdir()
    (other / "pipeline.yaml").write_text((config.folder / "pipeline.yaml").read_text())
    theirs = load_config(other)
    theirs.root.mkdir()
    LocalDagRunner().run(doubles.create(theirs))
    import ml_metadata as mlmd
    from tfx.orchestration import metadata

    database = theirs.root / "metadata.db"
    store = mlmd.MetadataStore(metadata.sqlite_metadata_connection_config(str(database)))
    [their_run] = store.get_contexts_by_type("pipeline_run")
    ours = lineage(config.root / "metadata.db", record.run_id, contents=True)
    assert ours == lineage(database, their_run.name, contents=True)


def test_independent_nodes_run_at_once_where_they_may(
    config: PipelineConfig, display: Remembering
) -> None:
    order(config, "B", "sleep 1.5")
    order(config, "C", "sleep 1.5")
    record = run(config, display)
    both = record.nodes["B"].seconds + record.nodes["C"].seconds
    assert both > 3
    assert record.seconds < both + sum(record.nodes[n].seconds for n in ("Source", "A", "Join"))


def test_a_failure_stops_what_depends_on_it_and_nothing_else(
    config: PipelineConfig, display: Remembering
) -> None:
    order(config, "B", "raise")
    with pytest.raises(NodeFailed, match="told to raise"):
        run(config, display)
    record = records.load(config.root, "latest")
    assert states(record) == {
        "Source": "complete", "A": "complete", "B": "failed", "C": "complete", "Join": "not run",
    }  # fmt: skip
    assert record.state == "failed"
    assert record.exit_code == NodeFailed.exit_code


@pytest.mark.parametrize(
    ("what", "error"), [("data error", DataError), ("disk full", StorageError)]
)
def test_an_error_of_ours_passes_through_unchanged(
    config: PipelineConfig, display: Remembering, what: str, error: type[Exception]
) -> None:
    order(config, "A", what)
    with pytest.raises(error) as raised:
        run(config, display)
    assert type(raised.value) is error


def test_a_passing_fault_is_tried_again_and_others_are_not(
    config: PipelineConfig, display: Remembering
) -> None:
    order(config, "A", "once")
    record = run(config, display)
    assert display.said == ["A: the connection was reset; trying again"]
    assert record.nodes["A"].tries == 2
    order(config, "B", "always")
    config = config.with_run(cache=False)
    with pytest.raises(Transient):
        run(config, display)
    assert records.load(config.root, "latest").nodes["B"].tries == 1 + config.run.retries


def test_resume_goes_on_where_the_run_failed(config: PipelineConfig, display: Remembering) -> None:
    order(config, "B", "raise")
    with pytest.raises(NodeFailed):
        run(config, display)
    failed = records.load(config.root, "latest")
    (config.folder / "B").unlink()
    record = run(config, display, resume="")
    assert record.run_id == failed.run_id
    assert record.state == "complete"
    assert tries(config, "A") == 1
    assert tries(config, "B") == 2
    with pytest.raises(ConfigError, match="nothing to resume"):
        run(config, display, resume="")


def test_resume_refuses_another_config(config: PipelineConfig, display: Remembering) -> None:
    order(config, "B", "raise")
    with pytest.raises(NodeFailed):
        run(config, display)
    path = config.folder / "pipeline.yaml"
    path.write_text(path.read_text().replace("kind: numeric", "kind: numeric, log: true"))
    with pytest.raises(ConfigError, match="has changed"):
        run(load_config(path), display, resume="")


def test_partial_runs_reuse_what_they_leave_out(
    config: PipelineConfig, display: Remembering
) -> None:
    with pytest.raises(ConfigError, match="no earlier run"):
        run(config, display, from_nodes=["B"])
    first = run(config, display)
    config = config.with_run(cache=False)
    record = run(config, display, from_nodes=["C"], to_nodes=["C"])
    assert states(record) == {
        "Source": "reused", "A": "reused", "B": "reused", "C": "complete", "Join": "not run",
    }  # fmt: skip
    assert tries(config, "A") == 1
    assert tries(config, "C") == 2
    again = run(config, display, from_nodes=["B", "C"])
    assert again.nodes["Join"].state == "complete"
    assert value(config, again, "Join") == value(config, first, "Join")
    # A run that ended early has no outputs of what follows; the one before it has.
    ended_early = run(config, display, to_nodes=["A"])
    assert states(ended_early) == {
        "Source": "complete", "A": "complete", "B": "not run", "C": "not run", "Join": "not run",
    }  # fmt: skip
    last = run(config, display, from_nodes=["Join"])
    assert value(config, last, "Join") == value(config, first, "Join")
    with pytest.raises(ConfigError, match="no such node: D"):
        run(config, display, to_nodes=["D"])


def test_run_ids_sort_by_time_within_a_second() -> None:
    ids = []
    for _ in range(50):
        ids.append(new_run_id())
        time.sleep(0.001)
    assert ids == sorted(set(ids))


def test_two_runs_in_one_folder_is_an_error_that_names_the_other(
    config: PipelineConfig, display: Remembering
) -> None:
    with held(config.root):
        with pytest.raises(Busy, match="another process is using this folder"):
            run(config, display)
        records.save(RunRecord(run_id=new_run_id(), pipeline="p", started=now()), config.root)
        with pytest.raises(Busy, match=f"process {os.getpid()} is using") as raised:
            run(config, display)
        assert f"stop it with `kill {os.getpid()}`" in raised.value.hint
    run(config, display)


def test_a_folder_that_cannot_be_made_is_a_storage_error(
    config: PipelineConfig, display: Remembering
) -> None:
    # Root may write anywhere but here.
    with pytest.raises(StorageError):
        run(config.with_run(root="/sys/assay"), display)


CHILD = """
import sys
from tests.runners import doubles
from tests.runners.remembering import Remembering
from tfx_pipeline.config import load_config
from tfx_pipeline.runners.local import RunOptions, execute, run_pipeline
def main():
    run_pipeline(load_config(sys.argv[1]), RunOptions(), Remembering(), doubles.create)
"""


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory, repo: Path) -> Iterator[Template]:
    with template(tmp_path_factory.mktemp("processes"), repo, CHILD) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("node", ["A", "B", "C"])
def test_kill_9_then_resume_leaves_the_lineage_of_an_undisturbed_run(
    config: PipelineConfig, display: Remembering, processes: Template, node: str, tmp_path: Path
) -> None:
    order(config, node, "kill")
    assert processes.start(str(config.folder)).wait() == -signal.SIGKILL
    killed = records.load(config.root, "latest")
    assert killed.state == "interrupted"
    record = run(config, display, resume="")
    assert record.run_id == killed.run_id

    other = tmp_path / "undisturbed"
    other.mkdir()
    (other / "pipeline.yaml").write_text((config.folder / "pipeline.yaml").read_text())
    undisturbed = load_config(other)
    reference = run(undisturbed, Remembering())
    assert lineage(config.root / "metadata.db", record.run_id, contents=True) == lineage(
        undisturbed.root / "metadata.db", reference.run_id, contents=True
    )


@pytest.mark.slow
def test_ctrl_c_ends_at_once_and_leaves_nothing_running(
    config: PipelineConfig, display: Remembering, processes: Template
) -> None:
    order(config, "A", "sleep 60")
    process = processes.start(str(config.folder))
    deadline = time.monotonic() + 120
    while tries(config, "A") == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    signalled = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    process.wait()
    # Well before the node would end; a busy machine takes its time.
    assert time.monotonic() - signalled < 45
    record = records.load(config.root, "latest")
    assert record.state == "interrupted"
    assert record.exit_code == 130
    found = lineage(config.root / "metadata.db", record.run_id)
    assert {e["state"] for e in found} == {"COMPLETE", "FAILED"}
    (config.folder / "A").unlink()
    assert run(config, display, resume="").state == "complete"


def test_the_record_is_json_that_anyone_can_read(
    config: PipelineConfig, display: Remembering
) -> None:
    record = run(config, display)
    path = config.root / record.run_id / records.RECORD_FILE
    content = json.loads(path.read_text())
    assert content["nodes"]["A"]["artifacts"]["out"][0]["type"] == "String"
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".")]


def test_resume_keeps_the_selection_of_its_run(
    config: PipelineConfig, display: Remembering
) -> None:
    """A partial run that failed must not go on to train and push."""
    order(config, "A", "raise")
    with pytest.raises(NodeFailed):
        run(config, display, to_nodes=["A"])
    (config.folder / "A").unlink()
    record = run(config, display, resume="")
    assert states(record) == {
        "Source": "reused", "A": "complete", "B": "not run", "C": "not run", "Join": "not run",
    }  # fmt: skip
    assert tries(config, "B") == 0


def test_resume_finds_the_unfinished_run_behind_later_ones(
    config: PipelineConfig, display: Remembering
) -> None:
    order(config, "B", "raise")
    with pytest.raises(NodeFailed):
        run(config, display)
    failed = records.load(config.root, "latest")
    (config.folder / "B").unlink()
    run(config, display, to_nodes=["Source"])
    assert run(config, display, resume="").run_id == failed.run_id


def test_a_partial_run_has_its_inputs_before_its_first_nodes_start(
    config: PipelineConfig, display: Remembering
) -> None:
    """B and C run at once: neither may depend on the other to take over what they read."""
    run(config, display)
    for _ in range(3):
        record = run(config.with_run(cache=False), display, from_nodes=["B", "C"])
        assert record.nodes["B"].state == record.nodes["C"].state == "complete"
    assert record.nodes["A"].artifacts["out"]


def test_a_wait_before_a_retry_does_not_hold_up_the_others(
    config: PipelineConfig, display: Remembering
) -> None:
    order(config, "B", "once")
    run(config.with_run(retry_wait_seconds=1.0), display)
    assert list(display.ended) == ["Source", "A", "C", "B", "Join"]
