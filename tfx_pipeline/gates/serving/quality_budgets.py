"""The quality budgets: thresholds, and the loss to the float model and to the champion, by slice.

A bound is judged on the estimate; the reason says where the confidence interval reaches over the
bound, for there another draw of rows could have decided otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tfx_pipeline.config.gates import GatesConfig, MetricThreshold
from tfx_pipeline.gates.metrics import METRICS, metrics_of, regression
from tfx_pipeline.gates.serving.measured import CHAMPION, OVERALL, BySlice, Estimate, Measured
from tfx_pipeline.gates.verdict import Check
from trainer.compression.config import FLOAT
from transform.label_config import Task


@dataclass(frozen=True)
class Others:
    """What candidates are compared with.

    Attributes:
        parent: The float model; None where it was not measured.
        champion: The model in production; None where there is none yet.
    """

    parent: Measured | None
    champion: Measured | None


def main_metric(gates: GatesConfig, task: Task) -> str:
    """The metric that stands for quality where one has to: that of the first threshold."""
    named = [threshold.metric for threshold in gates.quality.thresholds]
    return str(named[0] if named else metrics_of(task)[0])


def threshold_checks(measured: Measured, others: Others, gates: GatesConfig) -> Iterator[Check]:
    """`gates.quality`, of the served answers. Without a threshold one check says so, and fails."""
    if not gates.quality.thresholds:
        reason = "no quality threshold is set, so nothing shows that it is good enough"
        yield failed("quality", "a threshold", reason)
    for threshold in gates.quality.thresholds:
        metric = threshold.metric
        where = [OVERALL]
        if threshold.slices:
            where += _slices(measured, others)
            yield from _empty_slicings(metric, measured.quality, gates)
        for name in where:
            least = gates.quality.min_slice_examples
            for check in _bounds(threshold, name, measured, others):
                yield _excused(check, measured.quality, metric, least)


def slice_checks(
    measured: Measured, others: Others, gates: GatesConfig, task: Task
) -> Iterator[Check]:
    """`gates.slices`: no slice of a compressed candidate loses more than so much."""
    budget = gates.slices
    if budget is None or measured.name == FLOAT:
        return
    metric = budget.metric or main_metric(gates, task)
    if not gates.quality.slices:
        yield failed(metric, "a slice", "gates.quality.slices names none", "every slice")
    yield from _empty_slicings(metric, measured.quality, gates)
    for name in _slices(measured, others):
        check = _no_worse(metric, name, measured, others.parent, budget.max_drop, FLOAT)
        yield _excused(check, measured.quality, metric, budget.min_rows)


def _slices(measured: Measured, others: Others) -> list[str]:
    """Those of the candidate and of the float model: one that is missing is to be missed."""
    parent = {} if others.parent is None else others.parent.quality
    return [name for name in {**measured.quality, **parent} if name != OVERALL]


def failed(
    what: str, threshold: str, reason: str, name: str = OVERALL, measured: float | None = None
) -> Check:
    """A check that could not be made, or has no distance to its bound."""
    return Check(what, name, threshold, measured, None, None, False, reason)


def _bounds(
    threshold: MetricThreshold, name: str, measured: Measured, others: Others
) -> Iterator[Check]:
    metric = threshold.metric
    value = _estimate(measured.quality, name, metric)
    if threshold.min is not None:
        yield _bounded(metric, name, value, threshold.min, is_upper=False)
    if threshold.max is not None:
        yield _bounded(metric, name, value, threshold.max, is_upper=True)
    if threshold.max_regression is not None:
        yield _no_worse(metric, name, measured, others.champion, threshold.max_regression, CHAMPION)
    if threshold.max_drop is not None:  # The float model loses nothing to itself, if it is known.
        yield _no_worse(metric, name, measured, others.parent, threshold.max_drop, FLOAT)


def _bounded(
    metric: str, name: str, value: Estimate | str, bound: float, *, is_upper: bool
) -> Check:
    text = f"{'<=' if is_upper else '>='} {bound:g}"
    if isinstance(value, str):
        return failed(metric, text, value, name)
    margin = bound - value.value if is_upper else value.value - bound
    reason = ""
    if margin < 0:
        side = "over" if is_upper else "short of"
        reason = f"{metric} {value.value:.4g} is {-margin:.2g} {side} {text}{_interval(value, 4)}"
    elif value.low <= bound <= value.high:
        reason = f"not certain: it may be beyond {bound:g}{_interval(value, 4)}"
    return Check(metric, name, text, value.value, margin, None, margin >= 0, reason)


def _no_worse(
    metric: str, name: str, measured: Measured, other: Measured | None, allowed: float, who: str
) -> Check:
    """That a metric is worse than `who`'s, FLOAT or CHAMPION, by at most so much."""
    text = f"<= {allowed:g} {_worse(metric)} {who}"
    value = _estimate(measured.quality, name, metric)
    if isinstance(value, str):
        return failed(metric, text, value, name)
    if other is None and who == CHAMPION:
        return Check(metric, name, text, value.value, None, None, True, "no champion yet")
    before = "not measured" if other is None else _estimate(other.quality, name, metric)
    if other is not None and other.failed:
        before = other.failed
    if isinstance(before, str):
        reason = f"it cannot be compared with {who}: {before}"
        return failed(metric, text, reason, name, value.value)
    worse = _loss(metric, name, value, before, measured, who)
    margin = allowed - worse.value
    reason = ""
    if margin < 0:
        reason = (
            f"{metric} {value.value:.4g} is {worse.value:.2g} {_worse(metric)} {who}'s, "
            f"allowed {allowed:g}{_interval(worse, 2)}"
        )
    elif worse.low <= allowed <= worse.high:
        reason = f"not certain: the loss may be over {allowed:g}{_interval(worse, 2)}"
    return Check(metric, name, text, value.value, margin, before.value, margin >= 0, reason)


def _loss(
    metric: str, name: str, value: Estimate, before: Estimate, measured: Measured, who: str
) -> Estimate:
    """How much worse, from the two values; its interval from their paired difference."""
    loss = regression(metric, value.value, before.value)
    differences = measured.to_float if who == FLOAT else measured.to_champion
    paired = differences.get(name, {}).get(metric)
    better = METRICS[metric].better
    if paired is None or better == "one":
        return Estimate(loss, math.nan, math.nan, value.rows)
    if better == "lower":
        return Estimate(loss, paired.low, paired.high, value.rows)
    return Estimate(loss, -paired.high, -paired.low, value.rows)


def _empty_slicings(metric: str, quality: BySlice, gates: GatesConfig) -> Iterator[Check]:
    for columns in gates.quality.slices:
        pattern = ", ".join(f"{re.escape(column)}=.*" for column in columns)
        if not any(re.fullmatch(pattern, name, re.DOTALL) for name in quality):
            every = f"every {' x '.join(columns)}"
            yield failed(metric, "a row", "no held-out row is in any of these slices", every)


def _excused(check: Check, quality: BySlice, metric: str, least: int) -> Check:
    """A slice with too few rows is reported, and does not refuse."""
    found = quality.get(check.slice, {}).get(metric)
    if check.passed or check.slice == OVERALL or found is None or not 0 < found.rows < least:
        return check
    reason = f"{found.rows} rows, fewer than {least}: reported"
    return Check(**{**vars(check), "passed": True, "reason": reason})


def _estimate(found: BySlice, name: str, metric: str) -> Estimate | str:
    """A usable estimate, or why there is none."""
    if name not in found:
        return "no rows"
    value = found[name].get(metric)
    if value is None:
        return f"{metric} is missing from the results"
    if not value.rows:
        return "no rows"
    if not math.isfinite(value.value):
        return f"{metric} is not a number on {value.rows} rows"
    return value


def _interval(value: Estimate, digits: int) -> str:
    if not (math.isfinite(value.low) and math.isfinite(value.high)):
        return ""
    return f" (95 % interval {value.low:.{digits}g}..{value.high:.{digits}g})"


def _worse(metric: str) -> str:
    return {"higher": "below", "lower": "above"}.get(METRICS[metric].better, "worse than")
