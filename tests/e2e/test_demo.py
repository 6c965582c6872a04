"""`make run`: the taxi template from raw rows to served answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.project import Project, assay

pytestmark = pytest.mark.slow


def test_the_demo_pushes_a_good_model_and_shows_its_answers(tmp_path: Path) -> None:
    folder = tmp_path / "taxi"
    result = assay("demo", "--folder", str(folder), "--rows", "7")
    assert result.code == 0, result.terminal
    project = Project(folder)
    record = project.latest
    assert record.metrics["auc"] >= 0.945
    assert Path(record.pushed_to, "saved_model.pb").is_file()
    assert "quality gate: blessed" in result.terminal
    # The ladder and its verdict: what ships was measured, and is no larger than half the float.
    verdict = record.verdicts["ServingGate"]
    rows_by_name = {row["candidate"]["name"]: row for row in verdict["rows"]}
    assert list(rows_by_name) == ["float", "int8", "qat", "prune_80", "prune_80_int8", "student"]
    assert not any(row["candidate"]["failed"] for row in rows_by_name.values())
    assert verdict["winner"] != "float"
    assert f"serving gate: blessed. {verdict['winner']} ships" in result.terminal
    assert "served bytes 1 x float is 0.5 over" in result.terminal
    # Seven rows, each with a probability and the truth behind it.
    start = next(i for i, line in enumerate(result.lines) if "prediction" in line)
    rows = [line.split() for line in result.lines[start + 1 : start + 8]]
    assert all(0 <= float(row[-2]) <= 1 and row[-1] in ("0", "1") for row in rows)
    assert "server stopped" in result.terminal
    assert "assay init" in result.lines[-1]
    # Nothing of the dependencies: every line is one of ours.
    assert not [line for line in result.lines if "WARNING" in line or "tensorflow" in line.lower()]
    again = assay("run", str(folder))
    assert again.code == 0
    states = {name: node.state for name, node in project.latest.nodes.items()}
    resolvers = {"AnalyzerCache", "LatestBlessedModel", "LatestPushedModel"}
    assert {state for name, state in states.items() if name not in resolvers} == {"cached"}


def test_an_unknown_template_names_those_there_are(tmp_path: Path) -> None:
    result = assay("demo", "taxy", "--folder", str(tmp_path / "x"))
    assert result.code == 3
    assert "Did you mean 'taxi'?" in result.terminal
    assert not (tmp_path / "x").exists()
