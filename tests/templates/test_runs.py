"""Every template on a small setting, in this process: it ships, and it found what was planted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.runners.remembering import Remembering
from tfx_pipeline.config import load_config
from tfx_pipeline.report.record import RunRecord
from tfx_pipeline.runners.local import RunOptions, run_pipeline
from tfx_pipeline.templates import copy

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Small:
    """A template made short.

    Attributes:
        rows: Rows that its data.py makes.
        train: What is other in its `train` section.
        metric: The metric of its truth, or of `at_least`.
        short_of_best: How far from the planted rule's own metric it may stay.
        at_least: For real rows: what the metric must reach.
        gate: Bound of its one quality gate; the template's own bounds are for all its rows.
    """

    rows: int
    train: dict[str, Any]
    gate: float
    short_of_best: float = 0.0
    at_least: float = 0.0


SMALL = {
    "churn": Small(2000, {"steps": 300, "learning_rate": 0.003}, 0.75, 0.05),
    "credit-risk": Small(10_000, {"steps": 400, "learning_rate": 0.004}, 0.7, 0.07),
    "digits": Small(900, {"steps": 250}, 0.9, at_least=0.93),
    "intent": Small(2000, {"steps": 200}, 0.8, 0.06),
    "medical-image": Small(1500, {"steps": 400, "learning_rate": 0.002}, 0.7, 0.1),
    "news-monitor": Small(2000, {"steps": 200, "learning_rate": 0.01}, 0.8, 0.06),
    "predictive-maintenance": Small(1500, {"steps": 200}, 0.75, 0.06),
    "recommend": Small(5000, {"steps": 300, "learning_rate": 0.01}, 0.3, 0.1),
    "sentiment": Small(2000, {"steps": 150, "learning_rate": 0.01}, 0.7, 0.1),
}


def test_every_template_is_here() -> None:
    # tests/e2e/test_demo.py runs the taxi template as it is.
    assert sorted([*SMALL, "taxi"]) == sorted(copy.names())


@pytest.mark.parametrize("name", SMALL)
def test_a_template_ships_a_model_that_found_the_rule(name: str, tmp_path: Path) -> None:
    small = SMALL[name]
    record = run(name, small, tmp_path)
    assert record.state == "complete"
    assert Path(record.pushed_to, "saved_model.pb").is_file()
    if small.at_least:
        assert record.metrics[metric_of(tmp_path)] >= small.at_least
        assert not (tmp_path / "truth.json").exists()
        return
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert truth["synthetic"] is True
    found = record.metrics[truth["metric"]]
    assert found >= truth["best"] - small.short_of_best
    # Nearer to the rule than to what is blind to a part of it.
    assert found > (truth["best"] + truth["blind_to_it"]) / 2


def metric_of(folder: Path) -> str:
    metric: str = load_config(folder).gates.quality.thresholds[0].metric
    return metric


def run(name: str, small: Small, folder: Path) -> RunRecord:
    """Data to push, without the compressed candidates and the serving gate: those are measured in
    tests/gates and tests/e2e, and the template's header has what they say."""
    file = copy.copy_template(name, folder, small.rows)
    settings = yaml.safe_load(file.read_text())
    settings["compress"] = "off"
    settings["train"] |= small.train
    gates = settings["gates"]
    settings["gates"] = {"data": gates["data"], "quality": gates["quality"]}
    [first, *_] = gates["quality"]["thresholds"]
    gates["quality"]["thresholds"] = [{"metric": first["metric"], "min": small.gate}]
    if "calibrate" not in settings["train"]:
        # Nothing reads the validation split, and Beam takes seconds for every split.
        settings["data"].setdefault("split", {})["val_fraction"] = 0
    settings["run"] = {"memory_per_node_mb": 1}
    file.write_text(yaml.safe_dump(settings))
    return run_pipeline(load_config(file), RunOptions(), Remembering())
