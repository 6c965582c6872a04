"""Which metrics a task has, which way is better, and the lint of the gates' config."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Literal

from tfx_pipeline.config.gates import DriftLimit, MetricThreshold
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import ConfigError
from transform.config import storage_types

Direction = Literal["higher", "lower", "one"]

# `one`: the nearer to 1, the better.
DIRECTIONS: dict[str, Direction] = {
    "auc": "higher",
    "auc_pr": "higher",
    "accuracy": "higher",
    "precision": "higher",
    "recall": "higher",
    "log_loss": "lower",
    "calibration": "one",
    "mse": "lower",
    "mae": "lower",
    "rmse": "lower",
    "r2": "higher",
}
OF_TASK: dict[str, tuple[str, ...]] = {
    "binary": ("auc", "auc_pr", "accuracy", "precision", "recall", "log_loss", "calibration"),
    "multiclass": ("accuracy", "log_loss"),
    "regression": ("mse", "mae", "rmse", "r2"),
}


def regression(metric: str, candidate: float, baseline: float) -> float:
    """How much worse a candidate is than the baseline, in the metric's unit; negative: better."""
    match DIRECTIONS[metric]:
        case "higher":
            return baseline - candidate
        case "lower":
            return candidate - baseline
        case _:
            return abs(candidate - 1) - abs(baseline - 1)


def check_metrics(config: PipelineConfig) -> None:
    """Refuses a gates section that no run could satisfy, before anything runs.

    Raises:
        ConfigError: A metric that the task does not have, a slice or a limit on a column that is
            not stored, thresholds on slices where none are named, or a measure of drift that does
            not fit the column's kind.
    """
    columns = storage_types(config.transform)
    quality = config.gates.quality
    for index, threshold in enumerate(quality.thresholds):
        where = f"gates.quality.thresholds[{index}]"
        _check_threshold(threshold, config.data.label.task, where)
        if threshold.slices and not quality.slices:
            raise ConfigError(
                f"`slices: true` for {threshold.metric}, but `gates.quality.slices` names none",
                where=where,
                hint="Name columns in gates.quality.slices, or drop `slices: true`.",
            )
    for index, names in enumerate(quality.slices):
        where = f"gates.quality.slices[{index}]"
        if not names:
            raise ConfigError("a slice names no column", where=where, hint="Name one or drop it.")
        for name in names:
            _check_column(name, columns, where)
    for kind, limits in (("drift", config.gates.data.drift), ("skew", config.gates.data.skew)):
        for name, limit in limits.items():
            where = f"gates.data.{kind}.{name}"
            _check_column(name, columns, where)
            _check_limit(name, limit, columns[name], where)


def _check_threshold(threshold: MetricThreshold, task: str, where: str) -> None:
    if threshold.metric not in OF_TASK[task]:
        raise ConfigError(
            f"a {task} label has no metric {threshold.metric!r}",
            where=f"{where}.metric",
            hint=f"Choose one of {', '.join(OF_TASK[task])}.",
        )
    bounds = (threshold.min, threshold.max, threshold.max_regression)
    if any(bound is not None and not math.isfinite(bound) for bound in bounds):
        raise ConfigError("a bound is not a finite number", where=where, hint="Give a number.")
    if threshold.min is not None and threshold.max is not None and threshold.min > threshold.max:
        raise ConfigError(
            f"min {threshold.min:g} is above max {threshold.max:g}: no value is in between",
            where=where,
            hint="Exchange them, or drop one.",
        )


def _check_column(name: str, columns: Mapping[str, str], where: str) -> None:
    if name not in columns:
        close = difflib.get_close_matches(name, columns, n=1)
        instead = f"Did you mean {close[0]!r}? " if close else ""
        raise ConfigError(
            f"column {name!r} is not read: it is no feature and no label",
            where=where,
            hint=f"{instead}Known: {', '.join(sorted(columns))}. Or add it to features.columns.",
        )


def _check_limit(name: str, limit: DriftLimit, kind: str, where: str) -> None:
    if limit.linf is not None and kind != "bytes":
        raise ConfigError(
            f"`linf` compares the shares of values, and column {name!r} holds numbers",
            where=where,
            hint="Use `jensen_shannon`.",
        )
    if limit.jensen_shannon is not None and kind == "bytes":
        raise ConfigError(
            f"`jensen_shannon` compares numbers, and column {name!r} holds text",
            where=where,
            hint="Use `linf`.",
        )
