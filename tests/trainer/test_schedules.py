"""Learning rates of every schedule, against their closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trainer.config import TrainConfig
from trainer.optimizers.make import learning_rate
from trainer.schedules import Rate

STEPS = 120
PEAK = 0.5


def half(done: float) -> float:
    return (1 + math.cos(math.pi * min(1.0, done))) / 2


def one_cycle(s: int) -> float:
    if s < 36:
        return 0.04 + (1 - 0.04) * (1 - half(s / 36))
    return 1e-4 + (1 - 1e-4) * half((s - 36) / 84)


def restarts(t: int) -> float:
    # Cycles of 20, 40, 80 steps, each 0.5 as high as the one before.
    for start, length, peak in ((0, 20, 1.0), (20, 40, 0.5), (60, 80, 0.25)):
        if t < start + length:
            return peak * half((t - start) / length)
    raise AssertionError(t)


SCHEDULES: list[tuple[dict[str, Any], Callable[[int], float]]] = [
    ({"name": "constant"}, lambda t: 1.0),
    ({"name": "step", "factor": 0.5, "every_steps": 25}, lambda t: 0.5 ** (t // 25)),
    ({"name": "exponential", "factor": 0.5, "every_steps": 25}, lambda t: 0.5 ** (t / 25)),
    ({"name": "cosine", "decay_steps": 80, "end": 0.1}, lambda t: 0.1 + 0.9 * half(t / 80)),
    ({"name": "cosine_restarts", "first_cycle_steps": 20, "cycle_peak": 0.5}, restarts),
    (
        {"name": "polynomial", "power": 2.0, "end": 0.2, "decay_steps": 60},
        lambda t: 0.2 + 0.8 * (1 - min(1, t / 60)) ** 2,
    ),
    ({"name": "plateau"}, lambda t: 1.0),
]


def rates(schedule: dict[str, Any]) -> np.ndarray:
    train = TrainConfig.model_validate(
        {"steps": STEPS, "learning_rate": PEAK, "schedule": schedule}
    )
    rate = learning_rate(train)
    if isinstance(rate, float):
        return np.full(STEPS, rate)
    again = Rate.from_config(rate.get_config())  # As an optimizer is saved.
    found = np.array([float(rate(np.int64(step))) for step in range(STEPS)])
    np.testing.assert_allclose(again(np.arange(STEPS)).numpy(), found, rtol=1e-6)
    return found


@pytest.mark.parametrize(("schedule", "of"), SCHEDULES, ids=[s["name"] for s, _ in SCHEDULES])
@pytest.mark.parametrize("warmup", [0, 10])
def test_is_its_closed_form(
    schedule: dict[str, Any], of: Callable[[int], float], warmup: int
) -> None:
    found = rates(schedule | {"warmup_steps": warmup})
    wanted = [(s + 1) / warmup if s < warmup else of(s - warmup) for s in range(STEPS)]
    np.testing.assert_allclose(found, PEAK * np.array(wanted), rtol=2e-5, atol=1e-7)


def test_one_cycle_rises_and_falls() -> None:
    found = rates({"name": "one_cycle"})
    np.testing.assert_allclose(found, [PEAK * one_cycle(s) for s in range(STEPS)], rtol=2e-5)
    assert found.argmax() == 36
    assert rates({"name": "one_cycle", "warmup_steps": 12}).argmax() == 12


def test_defaults_fill_the_steps() -> None:
    cosine = rates({"name": "cosine", "warmup_steps": 20})
    assert cosine.argmax() in (19, 20)
    assert cosine[-1] < 1e-3 * PEAK
    restarts = rates({"name": "cosine_restarts"})
    assert (np.diff(restarts) > 0).sum() == 2  # Three cycles.
    assert rates({"name": "step"})[[0, 40, 80]] == pytest.approx([0.5, 0.05, 0.005])
