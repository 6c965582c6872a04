"""The metrics: which there are, of which tasks, and which way is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from transform.label_config import Task

Direction = Literal["higher", "lower", "one"]


class Metric(NamedTuple):
    """A metric. `better`: which way; `one` means the nearer to 1, the better."""

    better: Direction
    tasks: tuple[Task, ...]


# The one list of them: what a threshold may name, what each task measures (in this order), and
# TFMA's directions are all read from it.
METRICS: dict[str, Metric] = {
    "auc": Metric("higher", ("binary",)),
    "auc_pr": Metric("higher", ("binary",)),
    "accuracy": Metric("higher", ("binary", "multiclass")),
    "precision": Metric("higher", ("binary",)),
    "recall": Metric("higher", ("binary",)),
    "recall_at_10": Metric("higher", ("multiclass",)),
    "macro_auc": Metric("higher", ("multilabel",)),
    "macro_f1": Metric("higher", ("multilabel",)),
    "micro_f1": Metric("higher", ("multilabel",)),
    "subset_accuracy": Metric("higher", ("multilabel",)),
    "hamming_loss": Metric("lower", ("multilabel",)),
    "log_loss": Metric("lower", ("binary", "multiclass", "multilabel")),
    "calibration": Metric("one", ("binary",)),
    "ece": Metric("lower", ("binary", "multiclass")),
    "pinball_loss": Metric("lower", ("quantile",)),
    "quantile_error": Metric("lower", ("quantile",)),
    "interval_coverage_error": Metric("lower", ("quantile",)),
    "mse": Metric("lower", ("regression",)),
    "mae": Metric("lower", ("regression", "quantile")),
    "rmse": Metric("lower", ("regression",)),
    "r2": Metric("higher", ("regression",)),
}


def metrics_of(task: str, levels: Sequence[float] | None = None) -> tuple[str, ...]:
    """Names of a task's metrics.

    Args:
        task: What kind of label.
        levels: The quantiles of that task, where they are known: one has no interval.
    """
    names = tuple(name for name, metric in METRICS.items() if task in metric.tasks)
    if task == "quantile" and levels is not None and len(levels) < 2:
        return tuple(name for name in names if name != "interval_coverage_error")
    return names


def regression(metric: str, candidate: float, baseline: float) -> float:
    """How much worse a candidate is than the baseline, in the metric's unit; negative: better."""
    match METRICS[metric].better:
        case "higher":
            return baseline - candidate
        case "lower":
            return candidate - baseline
        case _:
            return abs(candidate - 1) - abs(baseline - 1)
