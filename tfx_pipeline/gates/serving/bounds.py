"""Where the budgets lie in a plot of quality against a cost, read back from a verdict's checks."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tfx_pipeline.gates.metrics import METRICS
from tfx_pipeline.gates.serving.measured import CHAMPION, OVERALL, Measured
from tfx_pipeline.gates.serving.verdict import ServingVerdict
from tfx_pipeline.gates.verdict import Check
from trainer.compression.config import FLOAT


def quality_bound(verdict: ServingVerdict) -> float | None:
    """The tightest overall bound on the verdict's metric; None without one.

    A check's measurement and its distance to the bound give the bound, be it absolute or relative
    to the float model or the champion.
    """
    better = METRICS[verdict.metric].better
    if better == "one":
        return None
    higher = better == "higher"
    found = [
        float(c.measured) - c.margin if higher else float(c.measured) + c.margin
        for c in _checks(verdict, verdict.metric)
        if isinstance(c.measured, (int, float))
        and c.margin is not None
        # The other way, as of `auc <= 0.99`, a bound is of what is too good to be true.
        and (c.threshold.startswith("<=") is not higher or _is_loss(c))
    ]
    return (max(found) if higher else min(found)) if found else None


def _is_loss(check: Check) -> bool:
    """Whether it bounds what is lost to another model, `<= 0.003 below float`."""
    return check.threshold.endswith((FLOAT, CHAMPION))


def size_bound(verdict: ServingVerdict) -> float | None:
    """The tightest bound on the served bytes; None without one."""
    others: dict[str, Measured | None] = {CHAMPION: verdict.champion}
    others |= {row.candidate.name: row.measured for row in verdict.rows}
    found = []
    for check in _checks(verdict, "served bytes"):
        if not isinstance(check.measured, (int, float)) or check.margin is None:
            continue
        bound = check.measured + check.margin
        for who in (FLOAT, CHAMPION):
            if check.threshold.endswith(f" x {who}"):
                other = others.get(who)
                bound *= (other and other.served_bytes) or math.nan
        if math.isfinite(bound):
            found.append(bound)
    return min(found, default=None)


def _checks(verdict: ServingVerdict, what: str) -> Iterator[Check]:
    for row in verdict.rows:
        yield from (c for c in row.checks if c.what == what and c.slice == OVERALL)
