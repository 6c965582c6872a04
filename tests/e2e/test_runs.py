"""One small project through its life: first run, second run, and what each change runs again."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving.client.messages import Example
from tests.conformance.lineage import digest, lineage
from tests.e2e.project import NODES, RESOLVERS, Project, Result, make_project, states, uri, weights
from tfx_pipeline.cli.asking import read_examples
from tfx_pipeline.errors import GateRefused
from tfx_pipeline.report.record import RunRecord

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(first: tuple[Project, Result]) -> Project:
    """The project after a first run that was blessed and pushed."""
    return first[0]


def ran(record: RunRecord) -> set[str]:
    """The nodes that were not taken from the cache; resolvers are always asked."""
    assert list(record.nodes) == NODES
    return {n for n, state in states(record).items() if state != "cached"} - RESOLVERS


def test_a_first_run_prints_its_nodes_its_verdict_and_nothing_else(
    first: tuple[Project, Result], first_run: RunRecord
) -> None:
    project, result = first
    assert result.code == 0
    head, start, *rest = result.lines
    assert head == f"small  run {first_run.run_id}"
    assert start.split()[:2] == ["✓", "start"]
    assert [line.split()[:2] for line in rest[: len(NODES)]] == [["✓", node] for node in NODES]
    verdict, *table = rest[len(NODES) :]
    assert verdict == "quality gate: blessed. all 2 checks passed"
    assert table[0].split() == ["metric", "slice", "required", "measured", "margin", "baseline"]
    assert table[1].split()[:5] == ["ok", "auc", "overall", ">=", "0.6"]
    said = {line.split()[0]: line.split()[-1] for line in table[-3:]}
    assert said == {
        "model": first_run.pushed_to,
        "run": str(project.folder / "runs" / first_run.run_id / "run.json"),
        "log": str(project.folder / "runs" / first_run.run_id / "run.log"),
    }
    # What TensorFlow, Beam and TFX have to say is in the log.
    assert "tensorflow" in Path(said["log"]).read_text()


def test_the_record_tells_what_happened(project: Project, first_run: RunRecord) -> None:
    content = json.loads((project.folder / "runs" / first_run.run_id / "run.json").read_text())
    assert content["state"] == "complete"
    assert content["exit_code"] == 0
    assert list(content["nodes"]) == NODES
    assert set(states(first_run).values()) == {"complete"}
    assert 0.6 < content["metrics"]["auc"] < 1
    training = content["nodes"]["Trainer"]["training"]
    assert (training["steps"], training["planned_steps"], training["kept_step"]) == (40, 40, 40)
    assert content["nodes"]["Trainer"]["note"].startswith("40 steps, loss 0.")
    assert content["verdicts"]["Evaluator"]["blessed"] is True
    assert len(content["data_digest"]) == len(content["config_digest"]) == 64
    assert content["versions"]["tensorflow"]
    assert content["versions"]["tfx"]
    for node in content["nodes"].values():
        for found in node["artifacts"].values():
            assert all(Path(artifact["uri"]).exists() for artifact in found)


def test_the_pushed_version_answers(project: Project, first_run: RunRecord) -> None:
    import tensorflow as tf

    [version] = project.versions
    assert str(version) == first_run.pushed_to
    model = tf.saved_model.load(str(version))
    raw = list(read_examples(uri(first_run, "ExampleGen", "examples") / "Split-eval"))
    answer = model.signatures["serving_default"](tf.constant(raw))["predictions"].numpy()
    assert answer.shape == (len(raw), 1)
    assert 0 <= answer.min() < answer.max() <= 1


def test_a_second_run_takes_every_node_from_the_cache(
    project: Project, first_run: RunRecord
) -> None:
    record = project.run()
    assert ran(record) == set()
    assert record.pushed_to == first_run.pushed_to
    assert record.metrics == first_run.metrics
    assert record.verdicts == first_run.verdicts
    assert len(project.versions) == 1


def test_the_same_data_copied_anew_is_the_same_data(project: Project) -> None:
    path = project.folder / "data.csv"
    copy = shutil.copyfile(path, project.folder / "copy.csv")
    path.unlink()
    Path(copy).rename(path)
    os.utime(path, (1, 1))
    assert ran(project.run()) == set()


def test_one_changed_value_is_other_data(project: Project) -> None:
    path = project.folder / "data.csv"
    before = path.read_bytes()
    try:
        path.write_bytes(before.replace(b",12.45,", b",12.55,", 1))
        assert path.read_bytes() != before
        record = project.run("--to", "ExampleGen")
        assert states(record) == dict.fromkeys(NODES, "not run") | {"ExampleGen": "complete"}
    finally:
        path.write_bytes(before)
    assert ran(project.run()) == set()


def test_more_steps_train_again_and_are_measured_against_the_blessed_model(
    project: Project, first_run: RunRecord
) -> None:
    with project.changed({"train.steps": 60}):
        result = project.assay("run")
        again = project.assay("run")
    assert result.code == again.code == 0, result.terminal
    latest = project.latest
    record = next(r for r in all_runs(project) if r.config_digest == latest.config_digest)
    assert ran(record) == {"Trainer", "Evaluator", "Pusher"}
    assert uri(record, "LatestBlessedModel", "model") == uri(first_run, "Trainer", "model")
    [auc] = [c for c in record.verdicts["Evaluator"]["checks"] if c["threshold"] == "<= 0.2 worse"]
    assert auc["passed"]
    assert auc["baseline"] == pytest.approx(first_run.metrics["auc"], abs=1e-6)
    assert auc["measured"] == pytest.approx(record.metrics["auc"], abs=1e-6)
    assert record.pushed_to != first_run.pushed_to
    # The run after it finds the same baseline, not its own model, and nothing to do.
    assert ran(latest) == set()
    assert "<= 0.2 worse" in result.terminal


def all_runs(project: Project) -> list[RunRecord]:
    from tfx_pipeline.report import record as records

    return records.load_all(project.config.root)


def test_changed_features_go_on_from_the_analyzer_cache(
    project: Project, first_run: RunRecord
) -> None:
    scaled = {"features.columns.fare": {"kind": "numeric", "scale": "minmax"}}
    with project.changed(scaled):
        record = project.run("--to", "Transform")
    assert states(record)["Transform"] == "complete"
    assert uri(record, "AnalyzerCache", "cache") == uri(
        first_run, "Transform", "updated_analyzer_cache"
    )
    log = (project.folder / "runs" / record.run_id / "run.log").read_text()
    assert "Transform" in log


BUILDER = """
import tf_keras


def build(features, config):
    types = {{"dense": "float32", "ids": "int64"}}
    inputs = {{f.name: tf_keras.Input(f.shape, name=f.name, dtype=types[f.kind]) for f in features}}
    numbers = [inputs[f.name] for f in features if f.kind == "dense"]
    x = tf_keras.layers.Concatenate()(numbers) if len(numbers) > 1 else numbers[0]
    x = tf_keras.layers.Dense({units}, activation="relu")(x)
    return tf_keras.Model(
        inputs, tf_keras.layers.Dense(config.outputs, activation=config.activation)(x)
    )
"""


def test_an_edited_function_of_the_users_is_not_cached(project: Project) -> None:
    file = project.folder / "mine.py"
    with project.changed({"model.builder": "mine.py:build"}):
        file.write_text(BUILDER.format(units=4))
        assert ran(project.run("--to", "Trainer")) >= {"Trainer"}
        assert states(project.run("--to", "Trainer"))["Trainer"] == "cached"
        file.write_text(BUILDER.format(units=5))
        record = project.run("--to", "Trainer")
    assert states(record)["Trainer"] == "complete"
    assert states(record)["Transform"] == "cached"


def test_a_threshold_out_of_reach_refuses_and_says_by_how_much(project: Project) -> None:
    versions = project.versions
    with project.changed({"gates.quality.thresholds": [{"metric": "auc", "min": 0.999}]}):
        result = project.assay("run")
        record = project.latest
    assert result.code == GateRefused.exit_code
    assert (record.state, record.exit_code) == ("refused", GateRefused.exit_code)
    assert ran(record) == {"Evaluator", "Pusher"}
    assert project.versions == versions
    assert record.pushed_to == ""
    short = 0.999 - record.metrics["auc"]
    assert f"-{short:.4g}" in result.terminal
    assert "auc" in result.terminal
    assert ">= 0.999" in result.terminal
    assert "quality gate: refused" in result.terminal
    assert line_of("Evaluator", result) == ["✗", "refused"]
    assert line_of("Pusher", result) == ["–", "not", "pushed"]
    # The nodes themselves did not fail.
    assert states(record)["Evaluator"] == states(record)["Pusher"] == "complete"
    assert record.nodes["Evaluator"].outcome == "refused"
    assert "Traceback" not in result.terminal
    assert len(result.lines) <= 24, result.terminal


def line_of(node: str, result: Result) -> list[str]:
    """The words of a node's line, without its name and seconds."""
    found = [line.split() for line in result.lines if line[2:3] in ("✓", "✗", "–")]
    [words] = [words for words in found if words[1] == node]
    return [words[0], *(words[4:] if words[3:4] == ["s"] else words[2:])]


SCHEMA = """
feature { name: "fare" type: FLOAT float_domain { min: 0 max: 20 }
          presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
feature { name: "trip_miles" type: FLOAT presence { min_count: 1 }
          value_count { max: 1 } }
feature { name: "tips" type: FLOAT presence { min_fraction: 1 min_count: 1 }
          shape { dim { size: 1 } } }
feature { name: "company" type: BYTES presence { min_count: 1 } value_count { max: 1 } }
feature { name: "payment_type" type: BYTES domain: "payment_type"
          presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
string_domain { name: "payment_type" value: "Cash" value: "Credit Card" }
"""
BEHIND_THE_DATA_GATE = NODES[NODES.index("DataGate") + 1 :]


def test_data_that_break_the_users_schema_stop_the_run(project: Project) -> None:
    (project.folder / "schema.pbtxt").write_text(SCHEMA)
    versions = project.versions
    with project.changed({"gates.data.schema_path": "schema.pbtxt"}):
        result = project.assay("run")
        record = project.latest
        before = len(trainings(project))
        run_with_local_dag_runner(project)
        assert len(trainings(project)) == before
    assert result.code == GateRefused.exit_code
    assert record.state == "refused"
    assert {record.nodes[node].state for node in BEHIND_THE_DATA_GATE} == {"skipped"}
    assert project.versions == versions
    assert "data gate: refused" in result.terminal
    assert line_of("DataGate", result) == ["✗", "refused"]
    assert line_of("Trainer", result) == ["–", "skipped"]
    for text in ("payment_type", "Credit Card", "No Charge", "fare", "20"):
        assert text in result.terminal, result.terminal
    assert "Traceback" not in result.terminal
    assert len(result.lines) <= 40, result.terminal


def test_drift_from_the_last_run_stops_the_run(project: Project, first_run: RunRecord) -> None:
    path = project.folder / "data.csv"
    before = path.read_text()
    limits = {
        "gates.data.drift": {"fare": {"jensen_shannon": 0.05}},
        "gates.data.skew": {"payment_type": {"linf": 0.3}},
    }
    with project.changed(limits):
        unchanged = project.run("--to", "DataGate")
        try:
            rows = list(csv.DictReader(before.splitlines()))
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(row | {"fare": str(3 * float(row["fare"]))} for row in rows)
            result = project.assay("run")
            record = project.latest
        finally:
            path.write_text(before)
    assert unchanged.nodes["DriftValidator"].state == "complete"
    assert unchanged.nodes["PreviousStatistics"].artifacts.get("statistics", []) == []
    assert result.code == GateRefused.exit_code, result.terminal
    assert uri(record, "PreviousStatistics", "statistics") == uri(
        first_run, "StatisticsGen", "statistics"
    )
    assert "drift train to train" in result.terminal
    assert "drift <= 0.05" in result.terminal
    assert [c["what"] for c in record.verdicts["DataGate"]["checks"] if not c["passed"]] == ["fare"]
    assert record.nodes["Trainer"].state == "skipped"


def run_with_local_dag_runner(project: Project) -> str:
    """Runs the same graph as TFX does by itself; the run's id."""
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    from tfx_pipeline.graph import create_pipeline

    before = run_names(project)
    project.config.root.mkdir(exist_ok=True)
    LocalDagRunner().run(create_pipeline(project.config))
    [name] = run_names(project) - before
    return name


def run_names(project: Project) -> set[str]:
    return {c.name for c in store(project).get_contexts_by_type("pipeline_run")}


def trainings(project: Project) -> list[Any]:
    return store(project).get_executions_by_type("tfx.components.trainer.component.Trainer")


def store(project: Project) -> Any:
    import ml_metadata as mlmd
    from tfx.orchestration import metadata

    return mlmd.MetadataStore(metadata.sqlite_metadata_connection_config(str(project.database)))


@pytest.fixture(scope="module")
def with_tfx(tmp_path_factory: pytest.TempPathFactory, rows: Path) -> tuple[Project, str]:
    """The same project, run by TFX's own runner."""
    project = make_project(tmp_path_factory.mktemp("with_tfx"), rows)
    return project, run_with_local_dag_runner(project)


def test_local_dag_runner_leaves_the_same_lineage(
    with_tfx: tuple[Project, str], project: Project, first_run: RunRecord
) -> None:
    theirs, run_name = with_tfx
    ours = lineage(project.database, first_run.run_id)
    assert ours == lineage(theirs.database, run_name)
    assert {e["node"] for e in ours} == {f"small.{node}" for node in NODES}
    assert weights(theirs.versions[0]) == weights(Path(first_run.pushed_to))


def test_two_processes_make_the_same_model_of_the_same_seed(
    project: Project, first_run: RunRecord, rows: Path, repo: Path, tmp_path: Path
) -> None:
    """Cold, in other folders, with another order of Python's sets: all that may differ does."""
    other = make_project(tmp_path / "project", rows)
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_HOME"}
    done = subprocess.run(
        [sys.executable, "-m", "tfx_pipeline.cli.main", "run", str(other.folder)],
        cwd=repo,
        env={**environment, "PYTHONHASHSEED": "12345", "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(home.iterdir()) == []
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2 + len(NODES) + 4 + 3
    second = other.latest
    for node, key, split in (
        ("ExampleGen", "examples", "train"),
        ("ExampleGen", "examples", "eval"),
        ("Transform", "transformed_examples", "train"),
    ):
        ours, theirs = (decoded(uri(r, node, key), split) for r in (first_run, second))
        assert ours == theirs, f"{node} differs"
    for node, key in (("SchemaGen", "schema"), ("ExampleValidator", "anomalies")):
        assert digest(uri(first_run, node, key)) == digest(uri(second, node, key))
    assert weights(Path(first_run.pushed_to)) == weights(Path(second.pushed_to))
    # TFMA adds up float64 in batches whose size Beam chooses by the clock.
    assert first_run.metrics == pytest.approx(second.metrics, rel=1e-6)


def decoded(examples: Path, split: str) -> list[dict[str, str]]:
    """The examples in order; the order of columns inside of one is Protocol Buffers' own."""
    found = []
    for serialized in read_examples(examples / f"Split-{split}"):
        features = Example.FromString(serialized).features.feature
        found.append({name: str(feature) for name, feature in features.items()})
    return found
