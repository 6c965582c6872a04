"""What the Pareto plots show of a verdict: points, and which of them are not dominated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from tfx_pipeline.gates.metrics import METRICS
from tfx_pipeline.gates.serving.choose import loss
from tfx_pipeline.gates.serving.measured import CHAMPION, OVERALL, Measured
from tfx_pipeline.gates.serving.verdict import ServingVerdict
from trainer.compression.config import FLOAT

Cost = Literal["size", "latency"]
Kind = Literal["ships", "passes", "refused", "champion"]


@dataclass(frozen=True)
class Point:
    """One model in a plot of quality against a cost.

    Attributes:
        name: The candidate's, or `champion`.
        kind: What the verdict says of it.
        cost: Served bytes, or p50 over the float model's.
        quality: The verdict's metric.
        loss: The same, so turned that less is better.
        low: Lower end of the metric's interval: of the paired difference to the float model where
            that is known, for that is what tells two candidates apart; NaN where there is none.
        high: Upper end.
    """

    name: str
    kind: Kind
    cost: float
    quality: float
    loss: float
    low: float = math.nan
    high: float = math.nan


def points(verdict: ServingVerdict, cost: Cost) -> list[Point]:
    """Every model whose cost and quality are known, in the ladder's order, the champion last."""
    found = []
    for row in verdict.rows:
        won = verdict.winner == row.candidate.name
        kind: Kind = "ships" if won else "passes" if row.passed else "refused"
        found.append(_point(row.candidate.name, kind, row.measured, cost, verdict.metric))
    found.append(_point(CHAMPION, "champion", verdict.champion, cost, verdict.metric))
    known = [point for point in found if point is not None]
    if len(known) > 1:
        # The float model is what the others' intervals are measured from.
        known = [p if p.name != FLOAT else replace(p, low=math.nan, high=math.nan) for p in known]
    return known


def front(costs: Mapping[str, tuple[float, float]]) -> set[str]:
    """The names of those that no other is better than in one thing and as good in the other.

    Args:
        costs: Name to two figures, less of which is better. One that is not finite is on no front.
    """
    known = {n: pair for n, pair in costs.items() if all(math.isfinite(x) for x in pair)}
    return {
        name
        for name, (x, y) in known.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in known.values())
    }


def front_of(found: Iterable[Point]) -> set[str]:
    """The front of what may ship; where nothing may, of all candidates. Never the champion."""
    candidates = [point for point in found if point.kind != CHAMPION]
    passed = [point for point in candidates if point.kind != "refused"]
    return front({point.name: (point.cost, point.loss) for point in passed or candidates})


def cost_of(measured: Measured, cost: Cost) -> float:
    """Served bytes, or p50 over the float model's; NaN where it is not known."""
    if cost == "size":
        return measured.served_bytes or math.nan
    return math.nan if measured.latency is None else measured.latency.p50_ratio


def _point(
    name: str, kind: Kind, measured: Measured | None, cost: Cost, metric: str
) -> Point | None:
    if measured is None or measured.failed:
        return None
    x, worse = cost_of(measured, cost), loss(measured, metric)
    if not (0 < x < math.inf and math.isfinite(worse)):
        return None
    absolute = measured.quality[OVERALL][metric]
    low, high = absolute.low, absolute.high
    paired = measured.to_float.get(OVERALL, {}).get(metric)
    if paired is not None and METRICS[metric].better != "one":
        parent = absolute.value - paired.value
        low, high = parent + paired.low, parent + paired.high
    return Point(name, kind, x, absolute.value, worse, low, high)
