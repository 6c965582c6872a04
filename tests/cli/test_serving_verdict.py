"""The serving gate's verdict in `assay show` and `assay diff`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.e2e.project import assay
from tests.gates.serving.verdicts import GATES, example
from tests.runners.conftest import YAML
from tfx_pipeline.cli.running import print_verdicts
from tfx_pipeline.gates.verdict import Check, Verdict
from tfx_pipeline.report import record as records
from tfx_pipeline.report.record import RunRecord

IDS = ["20261124-025040-a0f1", "20261124-025041-b0f2"]
ACCURATE = GATES.model_copy(update={"objective": "most_accurate"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.yaml").write_text(YAML)
    for run_id, gates in zip(IDS, (GATES, ACCURATE), strict=True):
        verdicts = {"ServingGate": json.loads(example(gates).to_json())}
        record = RunRecord(
            run_id=run_id, pipeline="doubles", started=records.now(), verdicts=verdicts
        )
        records.save(record, tmp_path / "runs")
    return tmp_path


def test_show_prints_the_table(folder: Path) -> None:
    shown = assay("show", IDS[0], "-c", str(folder))
    assert shown.code == 0
    assert "serving gate: blessed. int8 ships" in shown.terminal
    assert "payment_type=Cash refuses distill" in shown.terminal
    assert max(map(len, shown.lines)) < 300  # A pipe has no width; the plot has.


def test_diff_tells_that_another_candidate_ships(folder: Path) -> None:
    lines = [line.split() for line in assay("diff", "-c", str(folder)).lines]
    assert ["run", "ships", "int8", "float"] in lines


def printed(verdicts: dict[str, Any], *, all_gates: bool = True) -> str:
    record = RunRecord(run_id="r", pipeline="p", started=records.now(), verdicts=verdicts)
    out = io.StringIO()
    print_verdicts(Console(file=out, width=100), record, all_gates=all_gates)
    return out.getvalue()


def test_each_gate_is_drawn_in_its_own_way() -> None:
    check = Check("auc", "overall", ">= 0.9", 0.95, 0.05, None, True)
    quality = json.loads(Verdict("quality", True, [check], "all 1 checks passed").to_json())
    data = json.loads(Verdict("data", True, [], "no anomaly").to_json())
    serving = json.loads(example().to_json())
    verdicts = {"DataGate": data, "Evaluator": quality, "ServingGate": serving}
    text = printed(verdicts)
    heads = [line.split(":")[0] for line in text.splitlines() if " gate: " in line]
    assert heads == ["data gate", "quality gate", "serving gate"]
    assert "data gate" not in printed(verdicts, all_gates=False)


def test_a_verdict_of_another_version_is_one_line_and_the_others_are_shown() -> None:
    serving = json.loads(example().to_json())
    text = printed({"ServingGate": {**serving, "new_field": [1]}, "Other": serving})
    assert text.startswith("ServingGate: not a serving verdict: ")
    assert "serving gate: blessed" in text
    assert printed({"Evaluator": {"gate": "quality"}}).startswith("Evaluator: not a verdict")
