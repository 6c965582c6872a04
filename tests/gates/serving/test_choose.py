"""Which of those that pass is pushed."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from tests.gates.serving.verdicts import one
from tfx_pipeline.config.serving_gate import Objective
from tfx_pipeline.gates.serving.choose import choose, loss, time_ratio
from tfx_pipeline.gates.serving.measured import Estimate, Measured


def made(name: str, size: int | None, time: float, auc: float, metric: str = "auc") -> Measured:
    quality = {"overall": {metric: Estimate(auc, auc, auc, 9)}}
    latency = one("float").latency
    assert latency is not None
    return Measured(
        name, served_bytes=size, latency=replace(latency, p50_ratio=time), quality=quality
    )


SMALL = made("small", 10, 1.0, 0.8)
FAST = made("fast", 30, 0.5, 0.85)
GOOD = made("good", 20, 0.9, 0.9)


@pytest.mark.parametrize(
    ("objective", "name"),
    [("smallest", "small"), ("fastest", "fast"), ("most_accurate", "good"), (None, "small")],
)
def test_each_objective_has_its_winner_whatever_the_order(
    objective: Objective | None, name: str
) -> None:
    for order in itertools.permutations([SMALL, FAST, GOOD]):
        assert choose(order, objective, "auc") == name


def test_nothing_wins_where_nothing_passed() -> None:
    assert choose([], "smallest", "auc") == ""


def test_ties_go_to_the_next_figure_and_then_to_the_ladders_order() -> None:
    first = made("first", 10, 0.801, 0.80001)
    second = made("second", 10, 0.799, 0.80004)  # alike but for noise
    assert choose([first, second], "fastest", "auc") == "first"
    assert choose([second, first], "fastest", "auc") == "second"
    assert choose([first, made("x", 10, 0.9, 0.9)], "smallest", "auc") == "first"
    assert choose([first, made("x", 10, 0.8, 0.9)], "smallest", "auc") == "x"


@pytest.mark.parametrize("unit", [1e6, 1.0, 1e-6])
def test_an_error_ties_in_four_significant_digits_whatever_its_unit(unit: float) -> None:
    best = made("best", 20, 1.0, 2.345678 * unit, "mse")
    near = made("near", 10, 1.0, 2.345912 * unit, "mse")
    worse = made("worse", 5, 1.0, 2.349 * unit, "mse")
    assert choose([best, near, worse], "most_accurate", "mse") == "near"


@pytest.mark.parametrize("objective", ["smallest", "fastest", "most_accurate"])
def test_what_is_not_known_is_never_best(objective: Objective) -> None:
    unknown = made("unknown", None, math.nan, math.nan)
    assert choose([unknown, GOOD], objective, "auc") == "good"
    assert choose([unknown, GOOD], objective, "no_such_metric") == "good"
    empty = made("empty", 0, 0.9, 0.9)
    assert choose([empty, GOOD], "smallest", "auc") == "good"


@pytest.mark.parametrize(
    ("metric", "better", "worse"),
    [("auc", 0.9, 0.8), ("log_loss", 0.1, 0.2), ("calibration", 1.05, 0.9), ("r2", 0.5, -1)],
)
def test_less_loss_is_better_whichever_way_the_metric_goes(
    metric: str, better: float, worse: float
) -> None:
    assert loss(made("a", 1, 1, better, metric), metric) < loss(
        made("b", 1, 1, worse, metric), metric
    )
    assert loss(Measured("c"), metric) == math.inf
    assert time_ratio(Measured("c")) == math.inf
