"""Every budget against what was measured of one candidate. What cannot be shown to hold, fails."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tfx_pipeline.config.gates import GatesConfig
from tfx_pipeline.config.serving_gate import Budget, ServingSkew
from tfx_pipeline.gates.serving.choose import DEFAULT, loss, time_ratio
from tfx_pipeline.gates.serving.measured import CHAMPION, OVERALL, Latency, Measured, Skew
from tfx_pipeline.gates.serving.quality_budgets import (
    Others,
    failed,
    main_metric,
    slice_checks,
    threshold_checks,
)
from tfx_pipeline.gates.verdict import Check
from trainer.compression.config import FLOAT
from transform.label_config import Task

_Value = Callable[[Measured], float | None]


def check_all(measured: Measured, others: Others, gates: GatesConfig, task: Task) -> list[Check]:
    """Every budget that concerns a candidate.

    Args:
        measured: The candidate.
        others: Float parent and champion.
        gates: The budgets.
        task: What kind of label.

    Returns:
        One check for each bound and slice, in the order of the config; the skew's always.
    """
    return [
        *threshold_checks(measured, others, gates),
        *slice_checks(measured, others, gates, task),
        *_figure_checks(measured, others, gates),
        _skew(measured.skew, (gates.skew or ServingSkew()).tolerance),
        *_objective(measured, gates, task),
    ]


def why_refused(checks: Sequence[Check]) -> list[str]:
    """Why each check that failed did: overall before slices, what is farthest outside first."""

    def rank(check: Check) -> tuple[bool, float]:
        return check.slice != OVERALL, -math.inf if check.margin is None else check.margin

    return [
        check.reason if check.slice == OVERALL else f"{check.slice}: {check.reason}"
        for check in sorted((c for c in checks if not c.passed), key=rank)
    ]


@dataclass(frozen=True)
class _Figure:
    """Something with one number a candidate.

    Attributes:
        name: As it is shown.
        unit: Of `value`.
        value: The number.
        compared: What is divided by that of another model for a ratio.
    """

    name: str
    unit: str
    value: _Value
    compared: _Value


def _figure_checks(measured: Measured, others: Others, gates: GatesConfig) -> Iterator[Check]:
    if gates.latency_p99_ms is not None:
        # Each is compared with the float model in turn, so that the machine's noise drops out of
        # the ratio to the champion, too. The float model's own ratio is 1.
        p99 = _Figure("p99", "ms", _of(lambda x: x.p99_ms), _of(lambda x: x.p99_ratio))
        yield from _bounds(gates.latency_p99_ms, p99, measured, others)
    if gates.size_bytes is not None:
        yield from _bounds(gates.size_bytes, _bytes(gates.size_bytes.of), measured, others)
    if gates.memory_mb is not None:
        memory = _Figure("memory", "MB", lambda m: m.memory_mb, lambda m: m.memory_mb)
        yield from _bounds(gates.memory_mb, memory, measured, others)


def _of(read: Callable[[Latency], float]) -> _Value:
    return lambda measured: None if measured.latency is None else read(measured.latency)


def _bytes(of: str) -> _Figure:
    def value(measured: Measured) -> float | None:
        # No model has 0 bytes: they were looked for in the wrong place.
        return getattr(measured, f"{of}_bytes") or None

    return _Figure(f"{of} bytes", "bytes", value, value)


def _bounds(budget: Budget, figure: _Figure, measured: Measured, others: Others) -> Iterator[Check]:
    if budget.max is not None:
        text = f"<= {_number(budget.max)} {figure.unit}"
        yield _at_most(figure.name, text, figure.value(measured), budget.max)
    for limit, other, who in (
        (budget.max_ratio, others.parent, FLOAT),
        (budget.max_ratio_champion, others.champion, CHAMPION),
    ):
        if limit is None:
            continue
        text = f"<= {_number(limit)} x {who}"
        if who == CHAMPION and other is None:
            reason = "no champion yet"
            yield Check(figure.name, OVERALL, text, None, None, None, True, reason)
            continue
        theirs = None if other is None or other.failed else figure.compared(other)
        if theirs is None or not 0 < theirs < math.inf:
            yield failed(figure.name, text, _no_ratio(figure, other, who))
            continue
        own = figure.compared(measured)
        yield _at_most(figure.name, text, None if own is None else own / theirs, limit, f" x {who}")


def _at_most(what: str, text: str, value: float | None, bound: float, unit: str = "") -> Check:
    if value is None or not 0 <= value < math.inf:
        return failed(what, text, f"{what} was not measured")
    margin = bound - value
    passed = margin >= 0
    reason = "" if passed else f"{what} {_number(value)}{unit} is {_number(-margin)} over {text}"
    return Check(what, OVERALL, text, float(value), margin, None, passed, reason)


def _no_ratio(figure: _Figure, other: Measured | None, who: str) -> str:
    """Why there is nothing to divide by."""
    why = f": {other.failed}" if other is not None and other.failed else ""
    return f"{figure.name} of {who} is not known{why}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _skew(skew: Skew | None, tolerance: float) -> Check:
    text = f"<= {tolerance:g}"
    if skew is None:
        return failed("skew", text, "skew was not measured")
    if not math.isfinite(skew.max_difference):
        return failed("skew", text, skew.detail or "skew: the answers are not numbers")
    margin = tolerance - skew.max_difference
    passed = margin >= 0 and not skew.feature
    reason = ""
    if not passed:
        reason = "skew: " + (
            skew.detail
            or f"{' and '.join(skew.between)} differ by {skew.max_difference:.3g} on row {skew.row}"
        )
    return Check("skew", OVERALL, text, skew.max_difference, margin, None, passed, reason)


def _objective(measured: Measured, gates: GatesConfig, task: Task) -> Iterator[Check]:
    """What the objective compares has to be known."""
    objective = gates.objective or DEFAULT
    what, known = {
        "smallest": ("served bytes", bool(measured.served_bytes)),
        "fastest": ("p50", math.isfinite(time_ratio(measured))),
        "most_accurate": (
            main_metric(gates, task),
            math.isfinite(loss(measured, main_metric(gates, task))),
        ),
    }[objective]
    if not known:
        yield failed(what, "measured", f"the objective is `{objective}`, and {what} is not known")
