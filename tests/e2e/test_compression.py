"""The ladder and its verdict in a real pipeline: what ships is what was measured."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from serving.client import Client
from serving.process import model_server_process
from tests.e2e.processes import Template, has_begun, template, wait_for
from tests.e2e.project import TAXI, Project, Result, make_project, states, uri
from tfx_pipeline.cli.asking import read_examples
from tfx_pipeline.components.pusher.versions import model_digest
from tfx_pipeline.errors import GateRefused, ServingError
from tfx_pipeline.gates.serving.verdict import ServingVerdict, read_serving_verdict
from tfx_pipeline.report.record import RunRecord
from trainer.compression.candidate import CORE_FILE

pytestmark = pytest.mark.slow

LADDER: list[dict[str, Any]] = [
    {"method": "int8"},
    {"method": "prune", "sparsity": 0.75, "steps": 20},
    # No layer of a 16-unit network has so many weights.
    {"method": "distill", "hidden_units": [64], "steps": 20},
]
TRAINED_AGAIN = {"Trainer", "Evaluator", "Compressor", "ServingGate", "Pusher"}
RESOLVERS = {"AnalyzerCache", "LatestBlessedModel", "LatestPushedModel"}


def document(**gates: Any) -> dict[str, Any]:
    made = copy.deepcopy(TAXI)
    made["model"]["hidden_units"] = [32, 16]
    made["compress"] = {"candidates": LADDER}
    made["gates"]["quality"]["thresholds"][0]["max_drop"] = 0.1
    made["gates"] |= gates
    return made


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, rows: Path) -> tuple[Project, Result]:
    project = make_project(tmp_path_factory.mktemp("compressed"), rows, document())
    return project, project.assay("run")


@pytest.fixture(scope="module")
def record(first: tuple[Project, Result]) -> RunRecord:
    assert first[1].code == 0, first[1].terminal
    return first[0].latest


def verdict_of(record: RunRecord) -> ServingVerdict:
    found = read_serving_verdict(str(uri(record, "ServingGate", "verdict")))
    assert found is not None
    return found


def test_the_ladder_its_verdict_and_the_winner_are_on_the_terminal(
    first: tuple[Project, Result], record: RunRecord
) -> None:
    terminal = first[1].terminal
    assert "Compressor" in terminal
    assert "3 candidates, 1 failed" in terminal
    assert "int8 ships" in terminal
    assert "serving gate: blessed. int8 ships" in terminal
    for name in ("float", "int8", "prune_75", "student"):
        assert name in terminal
    assert "a student must be smaller" in terminal
    assert "tensorflow" not in terminal.lower()
    assert "Traceback" not in terminal


def test_every_row_of_the_verdict_is_measured_or_has_a_reason(record: RunRecord) -> None:
    verdict = verdict_of(record)
    rows = {row.candidate.name: row for row in verdict.rows}
    assert list(rows) == ["float", "int8", "prune_75", "student"]
    assert not rows["student"].passed
    for name in ("float", "int8", "prune_75"):
        measured = rows[name].measured
        assert measured is not None
        assert measured.runs_core
        assert measured.latency is not None
        assert measured.skew is not None
        assert measured.skew.max_difference <= 1e-4
        assert measured.quality["overall"]["auc"].value > 0.6
    int8, parent = rows["int8"].candidate.effects, rows["float"].candidate.effects
    assert int8["core_bytes"] < 0.7 * parent["core_bytes"]  # The rest of so small a core is graph.
    assert int8["int8_tensors"] > 0
    assert rows["prune_75"].candidate.effects["sparsity"] > 0.5
    assert verdict.winner == "int8"  # `smallest` where no objective is given
    png = uri(record, "ServingGate", "verdict") / "pareto.png"
    assert png.read_bytes().startswith(b"\x89PNG")


def test_what_is_pushed_is_what_was_measured_with_its_warm_up_requests(
    first: tuple[Project, Result], record: RunRecord
) -> None:
    winner = uri(record, "ServingGate", "winner") / "Format-Serving"
    pushed = Path(record.pushed_to)
    assert (winner / CORE_FILE).exists()
    assert (winner / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 0
    (pushed / "assets.extra" / "assay_push.json").rename(pushed.parent / "marker")
    try:
        assert model_digest(pushed) == model_digest(winner)
    finally:
        (pushed.parent / "marker").rename(pushed / "assets.extra" / "assay_push.json")
    assert not list(uri(record, "ServingGate", "verdict").glob("staged*"))
    blessing = record.nodes["ServingGate"].artifacts["blessing"][0]
    infra = record.nodes["ServingGate"].artifacts["infra_blessing"][0]
    assert blessing.properties["blessed"] == infra.properties["blessed"] == 1
    assert (Path(blessing.uri) / "BLESSED").exists()
    assert (Path(infra.uri) / "INFRA_BLESSED").exists()


def test_the_pushed_pair_answers_as_it_did_in_the_gate(
    first: tuple[Project, Result], record: RunRecord
) -> None:
    project = first[0]
    raw = list(read_examples(uri(record, "ExampleGen", "examples") / "Split-eval"))[:50]
    with (
        model_server_process(project.config.model_name, project.config.push_dir) as address,
        Client(address) as client,
    ):
        answer = client.predict(project.config.model_name, raw)["predictions"]
    core = answers_of_core(Path(record.pushed_to), raw)
    np.testing.assert_allclose(answer, core, atol=1e-6)
    assert np.abs(answer - answers_of_core(uri(record, "Trainer", "model"), raw)).max() > 1e-5


def answers_of_core(folder: Path, rows: list[bytes]) -> Any:
    """What the TFLite core makes of rows; of the Trainer's model, which has none, its graph."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    if not (folder / CORE_FILE).exists():
        model = tf.saved_model.load(str(folder / "Format-Serving"))
        return model.signatures["serving_default"](tf.constant(rows))["predictions"].numpy()
    model = tf.saved_model.load(str(folder))
    features = model.signatures["core_inputs"](tf.constant(rows))
    core = Interpreter(model_content=(folder / CORE_FILE).read_bytes()).get_signature_runner()
    return core(**{name: value.numpy() for name, value in features.items()})["predictions"]


def test_a_second_run_takes_the_ladder_and_the_verdict_from_the_cache(
    first: tuple[Project, Result], record: RunRecord
) -> None:
    again = first[0].run()
    assert set(states(again)) - RESOLVERS == {
        node for node, state in states(again).items() if state == "cached"
    }
    assert again.pushed_to == record.pushed_to
    assert again.verdicts["ServingGate"] == record.verdicts["ServingGate"]


@dataclass(frozen=True)
class Newer:
    """A model of more steps: nobody answers at the address, and then nobody is asked."""

    result: Result
    taken_back: RunRecord
    versions: tuple[list[Path], list[Path]]  # Before the first of the two runs, and after it.
    pushed: RunRecord


@pytest.fixture(scope="module")
def newer(first: tuple[Project, Result], record: RunRecord) -> Newer:
    project = first[0]
    more = {"train.steps": 60, "gates.latency_p99_ms": {"max_ratio_champion": 50.0}}
    unanswered = {"serve.address": "127.0.0.1:1", "serve.probe_timeout_seconds": 0.5}
    before = project.versions
    with project.changed(more):
        with project.changed(unanswered):
            result = project.assay("run")
        taken_back, left = project.latest, [v for v in project.versions if v.is_dir()]
        return Newer(result, taken_back, (before, left), project.run())


def test_a_push_that_production_does_not_serve_is_taken_back(newer: Newer) -> None:
    """Nobody answers at the address; the version is gone again, and the run says so."""
    assert newer.result.code == ServingError.exit_code, newer.result.terminal
    assert "taken back" in newer.result.terminal
    before, left = newer.versions
    assert left == before
    # Nothing but the push is done again for the run that does not ask.
    assert {n for n, s in states(newer.pushed).items() if s == "complete"} - RESOLVERS == {"Pusher"}
    assert Path(newer.pushed.pushed_to) not in before


def test_a_new_model_is_measured_beside_the_one_in_production(
    newer: Newer, record: RunRecord
) -> None:
    found = states(newer.taken_back)
    assert {n for n, s in found.items() if s == "complete"} - RESOLVERS == TRAINED_AGAIN - {
        "Pusher"
    }
    # What was taken back was never in production.
    for run in (newer.taken_back, newer.pushed):
        champion = uri(run, "LatestPushedModel", "pushed_model")
        assert champion == uri(record, "Pusher", "pushed_model")
    verdict = verdict_of(newer.taken_back)
    assert verdict.champion is not None
    assert verdict.champion.failed == ""
    [row] = [row for row in verdict.rows if row.candidate.name == "int8"]
    assert row.measured is not None
    assert "auc" in row.measured.to_champion["overall"]
    assert any("x champion" in check.threshold for check in row.checks)
    # The float model is compared with the last float model, the shipped one with the shipped one.
    model = uri(newer.taken_back, "LatestBlessedModel", "model")
    assert model == uri(record, "Trainer", "model")


def test_a_budget_that_nothing_can_meet_pushes_nothing(
    first: tuple[Project, Result], record: RunRecord
) -> None:
    project = first[0]
    versions = project.versions
    with project.changed({"gates.size_bytes": {"max": 150}}):
        result = project.assay("run")
        refused = project.latest
    assert result.code == GateRefused.exit_code, result.terminal
    assert "serving gate: refused" in result.terminal
    assert "over <= 150 bytes" in result.terminal
    assert "ServingGate refused: none of 4 candidates stays inside the budgets" in result.terminal
    assert project.versions == versions
    assert refused.state == "refused"
    assert refused.pushed_to == ""
    blessing = refused.nodes["ServingGate"].artifacts["blessing"][0]
    assert blessing.properties["blessed"] == 0
    assert not list(uri(refused, "ServingGate", "winner").iterdir())
    # Only the gate was asked anew.
    assert states(refused)["Compressor"] == "cached"


def test_what_the_quality_gate_refuses_is_not_compressed(
    first: tuple[Project, Result], record: RunRecord
) -> None:
    project = first[0]
    out_of_reach = [{"metric": "auc", "min": 0.999, "max_drop": 0.1}]
    with project.changed({"gates.quality.thresholds": out_of_reach}):
        result = project.assay("run")
        found = states(project.latest)
    assert result.code == GateRefused.exit_code
    assert (found["Trainer"], found["Evaluator"]) == ("cached", "complete")
    assert found["Compressor"] == found["ServingGate"] == found["Pusher"] == "skipped"
    assert "Evaluator refused" in result.terminal


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory, repo: Path) -> Iterator[Template]:
    with template(tmp_path_factory.mktemp("processes"), repo) as found:
        yield found


def files_of(root: Path, node: str) -> set[Path]:
    """What a node has written in any run."""
    return {path for path in root.glob(f"artifacts/{node}/**/*") if path.is_file()}


@pytest.mark.timeout(600)
def test_killed_while_it_compresses_and_measures_it_goes_on_and_leaves_no_server(
    processes: Template, first: tuple[Project, Result], record: RunRecord
) -> None:
    """A ladder of one rung, behind a model that is trained already."""
    project = first[0]
    root, runs = project.config.root, len(project.runs)
    other = {"compress.candidates": [{"method": "int8"}], "serve.push_dir": "pushed_after_kills"}
    with project.changed(other):
        words = ["run", str(project.folder)]
        written = files_of(root, "Compressor")
        at_work: dict[str, Callable[[int], bool]] = {
            # It has begun to write; the candidate comes after the float model.
            "Compressor": lambda _: files_of(root, "Compressor") > written,
            "ServingGate": lambda pid: bool(psutil.Process(pid).children(recursive=True)),
        }
        for node, sign in at_work.items():
            started = processes.start(*words)
            wait_for(lambda node=node: len(project.runs) > runs and has_begun(root, node))
            wait_for(lambda sign=sign, pid=started.pid: sign(pid))
            children = psutil.Process(started.pid).children(recursive=True)
            assert started.kill() == -signal.SIGKILL, started.terminal
            assert project.latest.nodes[node].state == "running"
            wait_for(lambda children=children: not any(c.is_running() for c in children), 30)
            words = ["run", "--resume", str(project.folder)]
        resumed = processes.start(*words)
        assert resumed.wait() == 0, resumed.terminal
        assert len(project.runs) == runs + 1
        assert project.latest.state == "complete"
        assert states(project.latest)["Trainer"] == "reused"
        assert verdict_of(project.latest).winner == "int8"
        assert len(project.versions) == 1


def test_the_verdict_is_strict_json_with_every_figure(record: RunRecord) -> None:
    text = (uri(record, "ServingGate", "verdict") / "verdict.json").read_text()
    content = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert content["gate"] == "serving"
    [row] = [row for row in content["rows"] if row["candidate"]["name"] == "int8"]
    for figure in ("load_seconds", "memory_mb", "disk_bytes", "gzip_bytes", "served_bytes"):
        assert row["measured"][figure] is not None
    for figure in ("p50_ms", "p95_ms", "p99_ms", "p50_ratio", "p99_ratio", "rate", "batch_ratio"):
        assert row["measured"]["latency"][figure] > 0
    assert os.path.getsize(uri(record, "ServingGate", "verdict") / "server.log") > 0
