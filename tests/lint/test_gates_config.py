"""The lint of the `gates` section."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.gates.metrics import METRICS
from tfx_pipeline.lint import gates as checks
from tfx_pipeline.lint.registry import Check, Problem

CHECKS = (
    checks.thresholds_can_be_met,
    checks.slices_are_read,
    checks.distances_fit_the_columns,
)


def _problems(
    task: str = "regression",
    label: dict[str, Any] | None = None,
    found: tuple[Check, ...] = CHECKS,
    **gates: Any,
) -> list[Problem]:
    # More than ten, of which recall_at_10 can miss one.
    count = {"binary": 2, "multiclass": 12, "multilabel": 12}.get(task, 0)
    classes = list("abcdefghijkl")[:count]
    config = PipelineConfig.model_validate(
        {
            "name": "p",
            "data": {
                "path": "x",
                "label": {"column": "y", "task": task, "classes": classes, **(label or {})},
            },
            "features": {"columns": {"x": {"kind": "numeric"}, "t": {"kind": "text"}}},
            "gates": gates,
        }
    )
    return [problem for check in found for problem in check(config)]


@pytest.mark.parametrize(
    ("gates", "where", "what"),
    [
        (
            {"quality": {"thresholds": [{"metric": "auc", "min": 0.9}]}},
            "gates.quality.thresholds[0].metric",
            "no metric 'auc'",
        ),
        (
            {"quality": {"thresholds": [{"metric": "mse", "min": 2, "max": 1}]}},
            "gates.quality.thresholds[0]",
            "no value is in between",
        ),
        (
            {"quality": {"thresholds": [{"metric": "mse", "max": math.inf}]}},
            "gates.quality.thresholds[0]",
            "not a finite number",
        ),
        (
            {"quality": {"thresholds": [{"metric": "mse", "max": 1, "slices": True}]}},
            "gates.quality.thresholds[0]",
            "names none",
        ),
        ({"quality": {"slices": [["absent"]]}}, "gates.quality.slices[0]", "'absent' is not read"),
        ({"quality": {"slices": [[]]}}, "gates.quality.slices[0]", "names no column"),
        ({"data": {"drift": {"x": {"linf": 0.1}}}}, "gates.data.drift.x", "holds numbers"),
        ({"data": {"drift": {"z": {"linf": 0.1}}}}, "gates.data.drift.z", "'z' is not read"),
        ({"data": {"skew": {"t": {"jensen_shannon": 0.1}}}}, "gates.data.skew.t", "holds text"),
    ],
)
def test_gates_that_no_run_could_satisfy(gates: Any, where: str, what: str) -> None:
    [problem] = _problems(**gates)
    assert problem.field == where
    assert what in problem.what
    assert problem.hint


def test_one_quantile_has_no_interval_to_bound() -> None:
    threshold = {"metric": "interval_coverage_error", "max": 0.1}
    quality = {"thresholds": [threshold], "slices": [["t"]]}
    assert not _problems("quantile", quality=quality)
    [problem] = _problems("quantile", {"quantiles": [0.9]}, quality=quality)
    assert problem.what.startswith("one quantile bounds no interval")
    assert problem.hint == "choose one of pinball_loss, quantile_error, mae"


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression", "quantile"])
def test_the_threshold_that_is_proposed_fits_the_task(task: str) -> None:
    [problem] = _problems(task, found=(checks.quality_gate_can_bless,))
    proposed = yaml.safe_load(problem.hint.removeprefix("add one, for instance "))
    assert not _problems(task, quality={"thresholds": [proposed]})


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression", "quantile"])
def test_every_metric_of_a_task_and_no_other_may_be_bounded(task: str) -> None:
    thresholds = [{"metric": name, "max": 9} for name in METRICS]
    refused = {p.field for p in _problems(task, quality={"thresholds": thresholds})}
    assert refused == {
        f"gates.quality.thresholds[{index}].metric"
        for index, metric in enumerate(METRICS.values())
        if task not in metric.tasks
    }
