"""Workers that know the answer at once, for the oracles and the search around them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from trainer.tuning.journal import Trials, read_trials

TRANSFORM = {
    "features": {"columns": {"x": {"kind": "numeric"}}},
    "label": {"column": "y", "task": "binary", "classes": ["no", "yes"]},
}
# The planted best: a rate of 1e-2 and [64].
SPACE = {
    "train.learning_rate": {"log": [1e-4, 1.0]},
    "model.hidden_units": {"choice": [[128, 64], [64], [8]]},
}


def planted(values: Mapping[str, Any]) -> float:
    """An AUC that is best, 0.9, at the planted values."""
    away = abs(math.log10(values.get("train.learning_rate", 1e-2)) + 2)
    return 0.9 - 0.1 * away - 0.05 * (values.get("model.hidden_units", [64]) != [64])


class Killed(Exception):
    pass


class FakeWorkers:
    """Answers with `planted`, a little worse the fewer rounds a trial has."""

    def __init__(
        self,
        judge: Any,
        measure: Callable[[Any], dict[str, float]],
        dies_after: int,
        ran: list[str],
    ) -> None:
        self._judge, self._measure = judge, measure
        self._left, self._ran = dies_after, ran
        self._orders: deque[tuple[int, Any]] = deque()

    def start(self, slot: int, order: Any) -> None:
        self._orders.append((slot, order))

    def next_result(self) -> tuple[int, Any]:
        from trainer.tuning.trial import Result

        if self._left == 0:
            raise Killed
        self._left -= 1
        slot, order = self._orders.popleft()
        self._ran.append(order.id)
        measured = self._measure(order.values)
        if not measured:
            return slot, Result("failed", reason="the training loss became nan")
        history: list[float] = []
        why = ""
        for round_ in range(1, order.rounds + 1):
            history.append(measured["auc"] - 0.1 / round_)
            why = self._judge(slot, history, 10 * round_) if round_ < order.rounds else ""
            if why:
                break
        now = {**measured, "auc": history[-1]}
        steps = 10 * len(history)
        return slot, Result("pruned" if why else "complete", now, history, steps, 0.5, why)

    def close(self) -> None:
        self._orders.clear()


@pytest.fixture
def fake(tmp_path: Path) -> Any:
    """Searches with fake workers; `dies_after` so many trials as a killed process does."""
    from trainer.loading import TrainerConfig
    from trainer.tuning.config import TuneConfig
    from trainer.tuning.objective import Objective
    from trainer.tuning.oracles import make_oracle, own_values, search_space
    from trainer.tuning.trial import Setting
    from trainer.tuning.tuner import ConfigTuner

    def search(
        folder: str = "search",
        *,
        measure: Callable[[Any], dict[str, float]] = lambda values: {"auc": planted(values)},
        dies_after: int = -1,
        ran: list[str] | None = None,
        **given: Any,
    ) -> Trials:
        tune = {"space": SPACE, "objective": "auc", **given}
        custom = {"transform": TRANSFORM, "model": {}, "train": {}, "tune": tune}
        config, section = TrainerConfig.read(custom), TuneConfig.model_validate(tune)
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        setting = Setting(custom, "graph", ["train"], ["val"], str(where))
        objective = Objective("auc", section.budgets)
        space = search_space(section, config.model, config.train)
        own = own_values(space, section, config.model, config.train)
        heard = ran if ran is not None else []
        tuner = ConfigTuner(
            make_oracle(section, objective, space, own),
            setting,
            objective,
            lambda judge: FakeWorkers(judge, measure, dies_after, heard),
        )
        tuner.search()
        assert tuner.get_best_hyperparameters()[0].values
        return read_trials(where)

    return search
