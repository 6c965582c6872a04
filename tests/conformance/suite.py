"""What every runner does with the same pipeline. A runner's test subclasses `Conformance`.

One story is told once a runner, for real runners take their time: a run in which a fault passes, a
second run, a run that fails in the middle, and its resumption, in which the gate refuses.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2

from tests.conformance import pipeline
from tests.conformance.lineage import Store, connect, lineage, lineage_digest
from tests.conformance.pipeline import NODES, UPSTREAM
from tests.runners.conftest import YAML
from tests.runners.remembering import Remembering
from tfx_pipeline.config import PipelineConfig, load_config
from tfx_pipeline.report import record as records
from tfx_pipeline.runners.local import RunOptions, run_pipeline

DONE, FAILED, SKIPPED, NOT_RUN = "done", "failed", "skipped", "not run"


@dataclass(frozen=True)
class Run:
    """A run that has come to its end.

    Attributes:
        run_id: Its name in MLMD.
        ok: Whether the runner calls it a success.
        nodes: What the runner says of each node: DONE, FAILED, SKIPPED or NOT_RUN.
    """

    run_id: str
    ok: bool
    nodes: dict[str, str]


class Runner(abc.ABC):
    """Drives `tests.conformance.pipeline`.

    Attributes:
        retries: Whether it tries a node again whose fault can pass by itself.
        goes_on: Whether nodes that do not depend on a failed one are still run.
        keeps_records: Whether `assay runs` and `assay show` know its runs.
    """

    retries = True
    goes_on = True
    keeps_records = True

    @abc.abstractmethod
    def start(self, config: PipelineConfig) -> Run:
        """Compiles the pipeline, starts a run, and waits for its end."""

    @abc.abstractmethod
    def go_on(self, config: PipelineConfig, run: Run) -> Run:
        """Resumes a run that failed, in the way of the runner, and waits for its end."""

    def store(self, config: PipelineConfig) -> Store:
        """Where the lineage is."""
        return config.root / "metadata.db"


@dataclass(frozen=True)
class Story:
    """The runs, and what was seen between them.

    Attributes:
        config: Of the pipeline.
        tries: After each run, how often A, B and C have been executed.
        broken_states: What MLMD said of the nodes of the broken run before it was resumed.
    """

    config: PipelineConfig
    store: Store
    first: Run
    again: Run
    broken: Run
    resumed: Run
    tries: list[dict[str, int]]
    broken_states: dict[str, str]


def make_config(folder: Path, extra: str = "") -> PipelineConfig:
    """A config for the small pipeline; what it says of data and features is not used.

    Args:
        folder: Of the config; is made.
        extra: More lines of YAML, at the end: below `run`, indented by two.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.yaml").write_text(YAML + extra)
    return load_config(folder)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The lineage digest that the local runner leaves in an undisturbed run."""
    config = make_config(tmp_path_factory.mktemp("reference"))
    record = run_pipeline(config, RunOptions(), Remembering(), pipeline.create)
    return lineage_digest(config.root / "metadata.db", record.run_id)


class Conformance:
    """The suite. A subclass has a fixture `runner`; its module imports `reference`, too."""

    extra_yaml = ""

    @pytest.fixture(scope="class")
    def story(self, runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Story:
        config = make_config(tmp_path_factory.mktemp("story"), self.extra_yaml)
        folder, tries = config.folder, []
        if runner.retries:
            (folder / "B").write_text("once")
        first = runner.start(config)
        tries.append(_tries(folder))
        again = runner.start(config)
        tries.append(_tries(folder))
        (folder / "mark").write_text("2")
        (folder / "B").write_text("raise")
        broken = runner.start(config)
        tries.append(_tries(folder))
        broken_states = _states(runner.store(config), broken.run_id)
        (folder / "B").unlink()
        (folder / "refuse").touch()
        resumed = runner.go_on(config, broken)
        tries.append(_tries(folder))
        store = runner.store(config)
        return Story(config, store, first, again, broken, resumed, tries, broken_states)

    def test_every_node_ran_once_in_the_order_of_its_inputs(self, story: Story) -> None:
        assert story.first.ok
        assert story.first.nodes == dict.fromkeys(NODES, DONE)
        ran = _executions(story.store, story.first.run_id)
        assert set(ran) == set(NODES)
        for node, upstream in UPSTREAM.items():
            for before in upstream:
                ended = ran[before].last_update_time_since_epoch
                assert ended <= ran[node].create_time_since_epoch, (before, node)

    def test_artifacts_are_what_the_nodes_made(self, story: Story) -> None:
        assert _value(story, story.first, "Push") == "pushed rows>A>B+rows>A>C"

    def test_lineage_is_that_of_every_other_runner(self, story: Story, reference: str) -> None:
        assert lineage_digest(story.store, story.first.run_id) == reference

    def test_a_fault_that_passes_is_tried_again(self, story: Story, runner: Runner) -> None:
        assert story.tries[0] == {"A": 1, "B": 2 if runner.retries else 1, "C": 1}

    def test_the_second_run_takes_every_node_from_the_cache(self, story: Story) -> None:
        assert story.again.ok
        assert story.tries[1] == story.tries[0]
        assert _states(story.store, story.again.run_id) == dict.fromkeys(NODES, "CACHED")

    def test_a_failure_stops_what_depends_on_it(self, story: Story, runner: Runner) -> None:
        assert not story.broken.ok
        expected = dict.fromkeys(NODES, NOT_RUN) | {"Source": DONE, "A": DONE, "B": FAILED}
        if runner.goes_on:
            expected["C"] = DONE
        nodes = dict(story.broken.nodes)
        if not runner.goes_on:
            nodes["C"] = NOT_RUN  # It may have been before B or after.
        assert nodes == expected
        assert story.broken_states["B"] == "FAILED"
        assert not story.broken_states.keys() & {"Join", "Gate", "Push"}

    def test_a_resumed_run_does_again_only_what_is_missing(self, story: Story) -> None:
        assert story.tries[3]["A"] == story.tries[0]["A"]
        assert story.tries[3]["C"] == story.tries[0]["C"]
        assert story.tries[3]["B"] == story.tries[2]["B"] + 1
        assert _value(story, story.resumed, "Join") == "rows>A>B+rows>A>C"

    def test_a_gate_that_refuses_is_a_skipped_push_and_no_failure(self, story: Story) -> None:
        assert story.resumed.nodes == dict.fromkeys(NODES, DONE) | {"Push": SKIPPED}
        assert story.resumed.ok
        assert "Push" not in _states(story.store, story.resumed.run_id)

    def test_nothing_is_left_running(self, story: Story) -> None:
        states = {
            state
            for run in (story.first, story.again, story.broken, story.resumed)
            for state in _states(story.store, run.run_id).values()
        }
        assert states <= {"COMPLETE", "CACHED", "FAILED"}

    def test_assay_show_knows_the_runs(self, story: Story, runner: Runner) -> None:
        if not runner.keeps_records:
            assert not records.run_ids(story.config.root)
            return
        of = {record.run_id: record for record in records.load_all(story.config.root)}
        assert of[story.first.run_id].state == "complete"
        assert {node.state for node in of[story.again.run_id].nodes.values()} == {"cached"}
        assert of[story.resumed.run_id].state == "refused"
        assert of[story.resumed.run_id].nodes["Push"].state == "skipped"


def _tries(folder: Path) -> dict[str, int]:
    return {name: len((folder / f"{name}.tries").read_text()) for name in ("A", "B", "C")}


def _executions(store: Store, run_id: str) -> dict[str, metadata_store_pb2.Execution]:
    connected = connect(store)
    run = connected.get_context_by_type_and_name("pipeline_run", run_id)
    found = {}
    for execution in connected.get_executions_by_context(run.id):
        contexts = connected.get_contexts_by_execution(execution.id)
        [node] = [context.name for context in contexts if context.type == "node"]
        found[node.rpartition(".")[2]] = execution
    return found


def _states(store: Store, run_id: str) -> dict[str, str]:
    found = lineage(store, run_id)
    return {entry["node"].rpartition(".")[2]: entry["state"] for entry in found}


def _value(story: Story, run: Run, node: str) -> str:
    connected = connect(story.store)
    execution = _executions(story.store, run.run_id)[node]
    events = connected.get_events_by_execution_ids([execution.id])
    outputs = [e for e in events if e.type == metadata_store_pb2.Event.OUTPUT]
    [artifact] = connected.get_artifacts_by_id([outputs[0].artifact_id])
    return Path(artifact.uri).read_text()
