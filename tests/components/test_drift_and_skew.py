"""Drift and skew as `create_pipeline` wires them, run after run, by the local runner."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.runners.remembering import Remembering
from tfx_pipeline.config import load_config
from tfx_pipeline.errors import GateRefused
from tfx_pipeline.report import record as records
from tfx_pipeline.report.record import RunRecord
from tfx_pipeline.runners.local import RunOptions, run_pipeline

pytestmark = pytest.mark.slow

YAML = """
name: days
data:
  path: data.csv
  label: {column: y, task: regression}
  split: {method: column, column: part, val_fraction: 0}
features:
  columns:
    x: {kind: numeric}
    city: {kind: categorical}
gates:
  data:
    drift: {x: {jensen_shannon: LIMIT}}
    skew: {city: {linf: 0.3}}
run: {memory_per_node_mb: 1}
"""
NODES = {
    "ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "PreviousStatistics",
    "DriftValidator", "SkewValidator", "DataGate",
}  # fmt: skip


class Days:
    """A project whose data change from day to day; each run goes as far as the data gate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.limit(0.2)

    def limit(self, limit: float) -> None:
        """Sets the largest drift of x."""
        (self.folder / "pipeline.yaml").write_text(YAML.replace("LIMIT", str(limit)))

    def data(self, seed: int, *, x: float = 0.0, rome_in_eval: float = 0.5) -> None:
        """200 rows of train and 200 of eval, all new: x ~ N(`x`, 1), and a share of Rome."""
        random = np.random.default_rng(seed)
        with (self.folder / "data.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["x", "city", "y", "part"])
            for part, rome in (("train", 0.5), ("eval", rome_in_eval)):
                for index in range(200):
                    city = "Rome" if index < 200 * rome else "Oslo"
                    writer.writerow([random.normal(x), city, random.normal(), part])

    def run(self) -> RunRecord:
        """The record of a run, refused or not."""
        config = load_config(self.folder)
        try:
            return run_pipeline(config, RunOptions(to_nodes=["DataGate"]), Remembering())
        except GateRefused:
            return records.load(config.root, "latest")

    def broken(self) -> list[tuple[str, str]]:
        """Column and splits of what the gate of a new run refused."""
        record = self.run()
        verdict = record.verdicts["DataGate"]
        failed = [c for c in verdict["checks"] if not c["passed"]]
        assert verdict["blessed"] == (not failed) == (record.state == "complete")
        return [(check["what"], check["slice"]) for check in failed]


@pytest.fixture
def days(tmp_path: Path) -> Days:
    return Days(tmp_path)


def test_the_baseline_is_the_last_data_that_were_accepted(days: Days) -> None:
    drifted = [("x", "drift train to train")]

    days.data(1)
    first = days.run()
    assert {name for name, node in first.nodes.items() if node.state == "complete"} == NODES
    assert first.verdicts["DataGate"]["blessed"]
    again = days.run()
    cached = {name for name, node in again.nodes.items() if node.state == "cached"}
    assert cached == NODES - {"PreviousStatistics"}  # Resolvers are always asked.

    days.data(3, x=3.0)
    assert days.broken() == drifted
    days.data(4, x=3.0)
    assert days.broken() == drifted  # More of the kind.

    days.limit(1.0)  # How the owner accepts it: one run with a wider limit.
    assert days.broken() == []
    days.limit(0.2)
    days.data(5, x=3.0)
    assert days.broken() == []


def test_eval_rows_unlike_those_of_train_are_refused(days: Days) -> None:
    days.data(1, rome_in_eval=0.9)
    assert days.broken() == [("city", "skew eval to train")]
