"""Checks of the gates: thresholds, slices and distances that no run could satisfy."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping

from tfx_pipeline.config.gates import DriftLimit
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.gates.metrics import metrics_of
from tfx_pipeline.lint.registry import Problem, register
from transform.config import LabelConfig, storage_types


@register
def quality_gate_can_bless(config: PipelineConfig) -> Iterator[Problem]:
    """Gates fail closed: without a threshold every model would be trained and then refused."""
    if not any(threshold.bounds_float for threshold in config.gates.quality.thresholds):
        yield Problem(
            "gates.quality.thresholds",
            "no threshold, and gates fail closed: every model would be refused",
            f"add one, for instance {{{threshold_for(config.data.label)}}}",
        )


@register
def thresholds_can_be_met(config: PipelineConfig) -> Iterator[Problem]:
    """A threshold is on a metric that the task has, and leaves room for a value."""
    label, quality = config.data.label, config.gates.quality
    names = metrics_of(label.task, label.quantiles)
    for index, threshold in enumerate(quality.thresholds):
        where = f"gates.quality.thresholds[{index}]"
        if threshold.metric not in names:
            yield Problem(
                f"{where}.metric",
                no_metric(threshold.metric, label),
                f"choose one of {', '.join(names)}",
            )
        elif threshold.metric == "recall_at_10" and len(label.classes) <= 10:
            yield Problem(
                f"{where}.metric",
                "with ten classes or fewer each is among the ten: it is always 1",
                "choose accuracy",
            )
        low, high = threshold.min, threshold.max
        bounds = (low, high, threshold.max_regression, threshold.max_drop)
        if any(bound is not None and not math.isfinite(bound) for bound in bounds):
            yield Problem(where, "a bound is not a finite number", "give a number")
        elif low is not None and high is not None and low > high:
            yield Problem(
                where,
                f"min {low:g} is above max {high:g}: no value is in between",
                "exchange them, or drop one",
            )
        if threshold.slices and not quality.slices:
            yield Problem(
                where,
                f"`slices: true` for {threshold.metric}, but `gates.quality.slices` names none",
                "name columns in gates.quality.slices, or drop `slices: true`",
            )


def threshold_for(label: LabelConfig) -> str:
    """A threshold to begin with: better than guessing, by a metric that needs no unit."""
    return {
        "binary": "metric: auc, min: 0.6",
        "multilabel": "metric: macro_auc, min: 0.6",
        "regression": "metric: r2, min: 0.1",
        "quantile": "metric: quantile_error, max: 0.1",
    }.get(label.task, "metric: accuracy, min: 0.6")


def no_metric(metric: str, label: LabelConfig) -> str:
    """Why a label's metrics do not include one."""
    if metric in metrics_of(label.task):
        return f"one quantile bounds no interval, so there is no {metric!r}"
    return f"a {label.task} label has no metric {metric!r}"


@register
def slices_are_read(config: PipelineConfig) -> Iterator[Problem]:
    """A slice is of columns that are stored."""
    columns = storage_types(config.transform)
    for index, names in enumerate(config.gates.quality.slices):
        where = f"gates.quality.slices[{index}]"
        if not names:
            yield Problem(where, "a slice names no column", "name one or drop it")
        for name in names:
            yield from _unread(name, columns, where)


@register
def distances_fit_the_columns(config: PipelineConfig) -> Iterator[Problem]:
    """Limits on drift and skew are on columns that are stored, by a measure of their kind."""
    columns = storage_types(config.transform)
    data = config.gates.data
    for section, limits in (("drift", data.drift), ("skew", data.skew)):
        for name, limit in limits.items():
            where = f"gates.data.{section}.{name}"
            yield from _unread(name, columns, where)
            if name in columns:
                yield from _misfit(name, limit, columns[name], where)


def _unread(name: str, columns: Mapping[str, str], where: str) -> Iterator[Problem]:
    if name not in columns:
        close = difflib.get_close_matches(name, columns, n=1)
        instead = f"Did you mean {close[0]!r}? " if close else ""
        yield Problem(
            where,
            f"column {name!r} is not read: it is no feature and no label",
            f"{instead}Known: {', '.join(sorted(columns))}. Or add it to features.columns",
        )


def _misfit(name: str, limit: DriftLimit, kind: str, where: str) -> Iterator[Problem]:
    if limit.linf is not None and kind != "bytes":
        yield Problem(
            where,
            f"`linf` compares the shares of values, and column {name!r} holds numbers",
            "use `jensen_shannon`",
        )
    if limit.jensen_shannon is not None and kind == "bytes":
        yield Problem(
            where,
            f"`jensen_shannon` compares numbers, and column {name!r} holds text",
            "use `linf`",
        )
