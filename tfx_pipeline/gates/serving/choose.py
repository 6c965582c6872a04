"""Which of the candidates that pass is pushed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tfx_pipeline.config.serving_gate import Objective
from tfx_pipeline.gates.metrics import METRICS
from tfx_pipeline.gates.serving.measured import OVERALL, Measured

DEFAULT: Objective = "smallest"

_TIME_STEP = 0.05
_Key = Callable[[Measured, str], float]

# What each objective compares first, then second, then third. A ratio of times is read to steps of
# a twentieth and a metric to four digits: what is behind them is noise.
_ORDER: dict[Objective, tuple[str, str, str]] = {
    "smallest": ("bytes", "time", "loss"),
    "fastest": ("time", "bytes", "loss"),
    "most_accurate": ("loss", "bytes", "time"),
}


def choose(passed: Sequence[Measured], objective: Objective | None, metric: str) -> str:
    """The name of the best candidate; of equals the first in the ladder's order.

    Args:
        passed: Those that stay inside every budget; the float model is one of them if it does.
        objective: What is wanted; None: `smallest`.
        metric: What stands for quality.

    Returns:
        A name; empty where nothing passed.
    """
    keys = _ORDER[objective or DEFAULT]

    def rank(candidate: Measured) -> tuple[float, ...]:
        return tuple(_KEYS[key](candidate, metric) for key in keys)

    return min(passed, key=rank).name if passed else ""


def loss(candidate: Measured, metric: str) -> float:
    """The overall metric so turned that less is better; infinite where it is not known."""
    found = candidate.quality.get(OVERALL, {}).get(metric)
    if found is None or not math.isfinite(found.value):
        return math.inf
    match METRICS[metric].better:
        case "higher":
            return -found.value
        case "lower":
            return found.value
        case _:
            return abs(found.value - 1)


def time_ratio(candidate: Measured) -> float:
    """p50 over the float model's, to two digits; infinite where it is not known."""
    if candidate.latency is None or not math.isfinite(candidate.latency.p50_ratio):
        return math.inf
    return round(candidate.latency.p50_ratio / _TIME_STEP) * _TIME_STEP


_KEYS: dict[str, _Key] = {
    "bytes": lambda candidate, _: _known(candidate.served_bytes),
    "time": lambda candidate, _: time_ratio(candidate),
    "loss": lambda candidate, metric: _to_four(loss(candidate, metric), metric),
}


def _to_four(loss: float, metric: str) -> float:
    """Four decimals of a metric whose best is 1; of an error, which may be in the label's unit,
    four significant digits."""
    if not math.isfinite(loss):
        return loss
    if METRICS[metric].better != "lower" or loss == 0:
        return round(loss, 4)
    return round(loss, 3 - math.floor(math.log10(abs(loss))))


def _known(figure: float | None) -> float:
    return float(figure) if figure else math.inf
