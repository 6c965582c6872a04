"""The quality gate: measured metrics against thresholds, overall, on slices, and over time."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tfx_pipeline.config.gates import MetricThreshold, QualityGateConfig
from tfx_pipeline.gates.metrics import regression
from tfx_pipeline.gates.verdict import OVERALL, Check, Verdict
from trainer.measures.sums import EXAMPLE_COUNT

Metrics = dict[str, dict[str, float]]
"""Slice (`overall`, or what `slice_name` gives) to metric to value."""


def slice_name(key: tuple[tuple[str, object], ...]) -> str:
    """A slice as text, `payment_type=Cash, trip_start_hour=7`; the empty key is `overall`."""
    return ", ".join(f"{column}={value}" for column, value in key) or OVERALL


def judge(
    gate: QualityGateConfig,
    candidate: Metrics,
    baseline: Metrics | None = None,
    *,
    columns: dict[str, tuple[str, ...]] | None = None,
    subject: str = "",
    baseline_uri: str = "",
) -> Verdict:
    """Decides whether a model is good enough. Whatever cannot be shown to hold, fails.

    Args:
        gate: The thresholds.
        candidate: What was measured of the new model.
        baseline: The same of the last blessed model; None when there is none yet.
        columns: Slice's name to the columns it is made of. A slice that is absent here counts
            only as itself, so a slicing none of whose slices were measured is seen as missing.
        subject: URI of the model.
        baseline_uri: URI of the last blessed model.

    Returns:
        The verdict; blessed only if there is a threshold and every check passed.
    """
    columns = columns or {}
    checks = [
        check
        for threshold in gate.thresholds
        for name in _slices(threshold, gate, candidate, columns)
        for check in _checks(threshold, name, gate, candidate, baseline)
    ]
    checks += [
        _failed("example_count", f"every {' x '.join(names)}", ">= 1", "no row is in any slice")
        for names in gate.slices
        if tuple(names) not in columns.values()
        and any(threshold.slices for threshold in gate.thresholds)
    ]
    failed = [check for check in checks if not check.passed]
    if not checks:
        reason = "no threshold is set, so nothing shows that this model is good enough"
    elif failed:
        reason = f"{len(failed)} of {len(checks)} checks failed"
    else:
        reason = f"all {len(checks)} checks passed"
    return Verdict(
        gate="quality",
        blessed=bool(checks) and not failed,
        checks=checks,
        reason=reason,
        metrics={name: dict(values) for name, values in candidate.items()},
        baseline_metrics={name: dict(values) for name, values in (baseline or {}).items()},
        subject=subject,
        baseline=baseline_uri,
    )


def _slices(
    threshold: MetricThreshold,
    gate: QualityGateConfig,
    candidate: Metrics,
    columns: dict[str, tuple[str, ...]],
) -> Iterator[str]:
    yield OVERALL
    if threshold.slices:
        wanted = {tuple(names) for names in gate.slices}
        yield from sorted(name for name in candidate if columns.get(name) in wanted)


def _checks(
    threshold: MetricThreshold,
    name: str,
    gate: QualityGateConfig,
    candidate: Metrics,
    baseline: Metrics | None,
) -> Iterator[Check]:
    metrics = candidate.get(name, {})
    before = None if baseline is None else baseline.get(name, {}).get(threshold.metric, math.nan)
    excuse = _too_small(metrics, name, gate)
    for check in _compared(threshold, name, metrics, before):
        if excuse and not check.passed:
            check = Check(**{**vars(check), "passed": True, "reason": excuse})
        yield check


def _compared(
    threshold: MetricThreshold, name: str, metrics: dict[str, float], before: float | None
) -> Iterator[Check]:
    metric = threshold.metric
    bounds = _bounds(threshold)
    value = metrics.get(metric)
    reason = _unmeasured(metric, value, metrics)
    if value is None or reason:
        for text, _, _ in bounds:
            yield _failed(metric, name, text, reason, before)
        return
    for text, side, bound in bounds:
        if side == "baseline":
            yield _against_baseline(metric, name, text, value, before, bound)
        else:
            margin = value - bound if side == "min" else bound - value
            yield Check(
                what=metric,
                slice=name,
                threshold=text,
                measured=value,
                margin=margin,
                baseline=_number(before),
                passed=margin >= 0,
                reason="" if margin >= 0 else f"{value:.6g} is {-margin:.3g} short of {text}",
            )


def _against_baseline(
    metric: str, name: str, text: str, value: float, before: float | None, allowed: float
) -> Check:
    if before is None:
        return Check(metric, name, text, value, None, None, True, "no baseline yet")
    if not math.isfinite(before):
        return Check(
            metric,
            name,
            text,
            value,
            None,
            None,
            False,
            f"the last blessed model's {metric} could not be measured here",
        )
    worse = regression(metric, value, before)
    margin = allowed - worse
    passed = margin >= 0
    reason = "" if passed else f"{worse:.3g} worse than the last blessed model ({before:.6g})"
    return Check(metric, name, text, value, margin, before, passed, reason)


def _bounds(threshold: MetricThreshold) -> list[tuple[str, str, float]]:
    """Each bound as (text, `min`, `max` or `baseline`, value)."""
    bounds = []
    if threshold.min is not None:
        bounds.append((f">= {threshold.min:g}", "min", threshold.min))
    if threshold.max is not None:
        bounds.append((f"<= {threshold.max:g}", "max", threshold.max))
    if threshold.max_regression is not None:
        allowed = threshold.max_regression
        bounds.append((f"<= {allowed:g} worse", "baseline", allowed))
    return bounds


def _unmeasured(metric: str, value: float | None, metrics: dict[str, float]) -> str:
    """Why a metric has no usable value; empty if it has one."""
    if not metrics.get(EXAMPLE_COUNT):
        return "no examples"
    if value is None:
        return f"{metric} is missing from the results"
    if not math.isfinite(value):
        rows = int(metrics[EXAMPLE_COUNT])
        return f"{metric} is not a number on {rows} rows: {_why(metric, metrics)}"
    return ""


def _why(metric: str, metrics: dict[str, float]) -> str:
    losses = (metrics.get(name, 0.0) for name in ("log_loss", "mse", "pinball_loss"))
    if not all(math.isfinite(loss) for loss in losses):
        return "a prediction or a label is not a number"
    match metric:
        case "precision":
            return "the model predicts no row positive"
        case "r2":
            return "the label is the same in all of them"
        case "auc":
            return "they are all of one class"
        case "macro_auc":
            return "each class is in all of them or in none"
        case "macro_f1" | "micro_f1":
            return "no class is in any of them, and the model predicts none"
        case _:
            return "none of them is positive"


def _too_small(metrics: dict[str, float], name: str, gate: QualityGateConfig) -> str:
    rows = metrics.get(EXAMPLE_COUNT, 0)
    if name == OVERALL or not 0 < rows < gate.min_slice_examples:
        return ""
    return f"{int(rows)} rows, fewer than min_slice_examples {gate.min_slice_examples}: reported"


def _failed(
    what: str, name: str, threshold: str, reason: str, baseline: float | None = None
) -> Check:
    return Check(what, name, threshold, None, None, _number(baseline), False, reason)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
