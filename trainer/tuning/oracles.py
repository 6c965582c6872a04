"""keras-tuner's oracles over the config's search space; each begins with the config as it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import keras_tuner as kt
import numpy as np
import numpy.typing as npt

from trainer.config import ModelConfig, TrainConfig
from trainer.tuning.config import Range, TuneConfig
from trainer.tuning.objective import Objective
from trainer.tuning.space import encoded, field_at, is_unchanged, is_whole, parents_values

_RANDOM_TRIALS = 20
_FACTOR = 3  # Hyperband: one trial of three goes on to the next round.
_CANDIDATES = 1024  # Of the Gaussian process, of either kind.
_CANDIDATES_TRIED = 50
_DRAWN_ANEW = 0.3  # Share of a candidate's fields.
_RESTARTS = 5  # Of the fit of its kernel; keras-tuner has 20.
_GRID_SAMPLES = 10  # Of a range without steps; keras-tuner's own number.


def search_space(tune: TuneConfig, model: ModelConfig, train: TrainConfig) -> kt.HyperParameters:
    """The space as keras-tuner has it."""
    space = kt.HyperParameters()
    for path, range_ in tune.space.items():
        with ExitStack() as scopes:
            for parent, values in parents_values(range_).items():
                known = tune.space[parent].choice
                # As the parent's values are encoded.
                at = [encoded(known)[known.index(v)] for v in values] if known else values
                scopes.enter_context(space.conditional_scope(parent, at))
            _add(space, path, range_, is_whole(field_at(path, model, train)))
    return space


def own_values(
    space: kt.HyperParameters, tune: TuneConfig, model: ModelConfig, train: TrainConfig
) -> dict[str, Any] | None:
    """The config's own values, in keras-tuner's terms; None where the space does not hold them."""
    values: dict[str, Any] = {}
    for field in space.space:
        if not all(condition.is_active(values) for condition in field.conditions):
            continue
        own = own_value(field.name, model, train)
        choices = tune.space[field.name].choice
        if choices is not None:
            # What is chosen may be written shorter than the section that it stands for.
            unchanged = [
                written
                for choice, written in zip(choices, encoded(choices), strict=True)
                if is_unchanged({field.name: choice}, model, train)
            ]
            if not unchanged:
                return None
            own = unchanged[0]
        elif not _is_in(field, own):
            return None
        values[field.name] = own
    return values


def make_oracle(
    tune: TuneConfig, objective: Objective, space: kt.HyperParameters, own: dict[str, Any] | None
) -> kt.Oracle:
    """The oracle that `tune.search` asks for.

    Args:
        tune: The section.
        objective: What trials are compared by.
        space: See `search_space`.
        own: The config's own values, with which the search begins; None where the space does not
            hold them. A grid has them where they are.
    """
    common: dict[str, Any] = {
        "objective": kt.Objective(objective.name, "max" if objective.higher else "min"),
        "hyperparameters": space,
        "seed": tune.seed,
        # A failed trial is a bad one, and not the end.
        "max_consecutive_failed_trials": 10**9,
    }
    trials = tune.trials or _RANDOM_TRIALS
    oracle: kt.Oracle
    match tune.search:
        case "random":
            oracle = _Random(max_trials=trials, **common)
        case "bayesian":
            # keras-tuner's default, three random trials a dimension, may be all there are.
            at_random = max(2, min(3 * len(space.space), trials // 2))
            oracle = _Bayesian(max_trials=trials, num_initial_points=at_random, **common)
        case "grid":
            oracle = _Grid(**common)
            oracle.max_trials = min(tune.trials or oracle.size, oracle.size)
        case "hyperband":
            once = 1 if tune.trials is None else 10**6
            oracle = _Hyperband(
                max_epochs=tune.rounds_of_a_trial,
                factor=_FACTOR,
                hyperband_iterations=once,
                **common,
            )
            oracle.max_trials = tune.trials or oracle.trials_of_one_pass
    oracle.verbose = 0
    if isinstance(oracle, _BeginsWith):
        oracle.first = own
    return oracle


def own_value(path: str, model: ModelConfig, train: TrainConfig) -> Any:
    """What the config says of a field; None where it has nothing to say.

    A section of `model` that is left out has its defaults; one of `train` is off.
    """
    own: Any = {"model": model, "train": train}
    for part in path.split("."):
        own = own.get(part) if isinstance(own, dict) else getattr(own, part, None)
    known = field_at(path, model, train)
    if own is None and path.startswith("model.") and known and not known.is_required():
        return known.default
    return own


def _is_in(field: Any, value: Any) -> bool:
    if not hasattr(field, "min_value"):
        return isinstance(value, bool)
    if not isinstance(value, int | float) or not field.min_value <= value <= field.max_value:
        return False
    # On a step, to a rounding.
    steps = (value - field.min_value) / field.step if field.step else 0.0
    return abs(steps - round(steps)) < 1e-9


class _BeginsWith:
    """An oracle whose first trial is given. Mixed in before one of keras-tuner's.

    All of them draw their random trials by `_random_values`, which is private: the lock pins the
    version, and a test the behaviour.
    """

    first: dict[str, Any] | None = None

    def _random_values(self) -> dict[str, Any] | None:
        if self.first is not None and not self.trials:  # type: ignore[attr-defined]
            return dict(self.first)
        values: dict[str, Any] | None = super()._random_values()  # type: ignore[misc]
        return values


class _Random(_BeginsWith, kt.oracles.RandomSearchOracle):  # type: ignore[misc]
    pass


class _Bayesian(_BeginsWith, kt.oracles.BayesianOptimizationOracle):  # type: ignore[misc]
    """keras-tuner's Gaussian process, asked where its confidence bound is lowest among candidates.

    keras-tuner follows the bound's numeric gradient from fifty places, which takes seconds a trial,
    and may come to values that have been tried.
    """

    def _make_gpr(self) -> Any:
        process = super()._make_gpr()
        process.n_restarts_optimizer = _RESTARTS
        return process

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The candidate with the lowest confidence bound; random ones at first."""
        done = [trial for trial in self.trials.values() if trial.status == "COMPLETED"]
        if len(done) < self.num_initial_points:
            return dict(self._random_populate_space())
        x, y = self._vectorize_trials()
        self.gpr.fit(x, y)
        candidates = self._candidates(x[np.argmin(y)])
        mean, deviation = self.gpr.predict(candidates, return_std=True)
        for index in np.argsort(mean - self.beta * deviation)[:_CANDIDATES_TRIED]:
            values = self._vector_to_values(candidates[index].tolist())
            if not self._duplicate(values):
                return {"status": "RUNNING", "values": values}
        return dict(self._random_populate_space())

    def _candidates(self, best: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Points of the unit cube: anywhere, and near the best trial in most of their fields."""
        size = (_CANDIDATES, len(best))
        random = self._random_state
        anywhere = random.uniform(0, 1, size)
        near = np.clip(best + random.normal(0, 0.1, size), 0, 1)
        # A choice is a step of this cube: small ones would never leave it.
        near = np.where(random.uniform(0, 1, size) < _DRAWN_ANEW, random.uniform(0, 1, size), near)
        return np.concatenate([anywhere, near])


class _Hyperband(_BeginsWith, kt.oracles.HyperbandOracle):  # type: ignore[misc]
    @property
    def trials_of_one_pass(self) -> int:
        """How many trials all rounds of all brackets are."""
        return sum(
            self._get_size(bracket, round_)
            for bracket in range(self._get_num_brackets())
            for round_ in range(self._get_num_rounds(bracket))
        )


class _Grid(kt.Oracle):  # type: ignore[misc]
    """Every combination, in the space's order, the last field fastest.

    keras-tuner's own grid finds the next combination when a trial ends, so that two never run at
    once, and forgets where it was when its process is killed.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The combination that has the trial's number."""
        found = next(itertools.islice(self._combinations(), len(self.trials), None), None)
        if found is None:
            return {"status": "STOPPED", "values": None}
        return {"status": "RUNNING", "values": found}

    @property
    def size(self) -> int:
        """How many combinations there are."""
        return sum(1 for _ in self._combinations())

    def _combinations(self) -> Iterator[dict[str, Any]]:
        yield from self._below(self.get_space().space, {})

    def _below(self, fields: list[Any], values: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not fields:
            yield dict(values)
            return
        field, *others = fields
        if not all(condition.is_active(values) for condition in field.conditions):
            yield from self._below(others, values)
            return
        for value in _values_of(field):
            yield from self._below(others, {**values, field.name: value})


def _values_of(field: Any) -> list[Any]:
    if hasattr(field, "min_value") and field.step is None:
        whole = isinstance(field.min_value, int)
        if whole and field.sampling == "linear":
            return list(range(field.min_value, field.max_value + 1))
        places = [index / (_GRID_SAMPLES - 1) for index in range(_GRID_SAMPLES)]
        if field.sampling == "log":
            ratio = field.max_value / field.min_value
            spread = [field.min_value * ratio**place for place in places]
        else:
            width = field.max_value - field.min_value
            spread = [field.min_value + width * place for place in places]
        ends = [field.min_value, *spread[1:-1], field.max_value]
        return sorted({round(value) for value in ends}) if whole else ends
    return list(field.values)


def _add(space: kt.HyperParameters, path: str, range_: Range, whole: bool) -> None:
    if range_.choice is not None:
        space.Choice(path, encoded(range_.choice))
    elif range_.boolean:
        space.Boolean(path)
    elif range_.int is not None:
        low, high, *step = range_.int
        space.Int(path, low, high, step=step[0] if step else None)
    elif range_.log is not None and whole:
        space.Int(path, *(int(end) for end in range_.log), sampling="log")
    elif range_.log is not None:
        space.Float(path, *range_.log, sampling="log")
    elif range_.float is not None:
        first, last, *stride = range_.float
        space.Float(path, first, last, step=stride[0] if stride else None)
