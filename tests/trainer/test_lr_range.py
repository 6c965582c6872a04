"""`assay lr-range`: a rate that trains, from the newest run's examples, as a plot and a table."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.project import assay
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.report import record as records
from tfx_pipeline.report.record import ArtifactRecord, NodeRecord, RunRecord

pytestmark = pytest.mark.slow  # Data through TFT and training: seconds each.


def project(folder: Path, data: Any, train: dict[str, Any]) -> Path:
    config = data.config.model_dump(mode="json")
    document = {
        "name": "small",
        "data": {"path": "data.csv", "label": config["label"]},
        "features": config["features"],
        "model": {"hidden_units": [8]},
        "train": train,
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(document))
    (folder / "data.csv").write_text("size\n1\n")
    return folder


def ran(folder: Path, data: Any) -> None:
    """The record of a run that has come as far as Transform."""
    made = {"transformed_examples": data.folder, "transform_graph": data.graph}
    artifacts = {
        name: [ArtifactRecord(type=name, uri=str(uri), id=index)]
        for index, (name, uri) in enumerate(made.items())
    }
    record = RunRecord(
        run_id="20261124-025040-a0f1",
        pipeline="small",
        state="failed",
        started=records.now(),
        nodes={"Transform": NodeRecord(state="complete", artifacts=artifacts)},
    )
    records.save(record, folder / "runs")


def test_finds_a_rate_that_trains(binary: Any, tmp_path: Path) -> None:
    train = {"steps": 100, "batch_size": 64, "mixup": 0.2, "optimizer": "sgd"}
    folder = project(tmp_path, binary, train)
    ran(folder, binary)
    done = assay("lr-range", str(folder), "--steps", "120", "--from", "1e-4", "--to", "1e4")
    assert done.code == 0, done.terminal
    [line] = [line for line in done.lines if line.startswith("train.learning_rate: ")]
    suggested = float(line.split()[1])
    assert 0.01 <= suggested <= 10  # SGD on standard scores, with a few hidden units.
    with open(folder / "runs" / "lr-range" / "lr-range.csv") as file:
        table = list(csv.DictReader(file))
    rates = [float(row["learning_rate"]) for row in table]
    assert rates[0] == pytest.approx(1e-4)
    growth = [b / a for a, b in pairwise(rates)]
    assert growth == pytest.approx([1e8 ** (1 / 119)] * len(growth))
    assert (folder / "runs" / "lr-range" / "lr-range.png").read_bytes()[:4] == b"\x89PNG"


def test_needs_a_run(binary: Any, tmp_path: Path) -> None:
    folder = project(tmp_path, binary, {"steps": 10})
    refused = assay("lr-range", str(folder))
    assert refused.code == ConfigError.exit_code
    assert "no run here has transformed examples" in refused.terminal
    assert "assay run" in refused.terminal
