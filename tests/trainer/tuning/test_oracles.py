"""Each kind of search: its choice of trials, its end, and going on after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trainer.tuning.conftest import SPACE, Killed, planted
from tfx_pipeline.errors import ConfigError, NodeFailed, StorageError
from trainer.config import ModelConfig, TrainConfig
from trainer.tuning.journal import Trials
from trainer.tuning.oracles import own_value
from trainer.tuning.plot import plot_trials
from trainer.tuning.space import applied


def values(found: Trials) -> list[dict[str, Any]]:
    """In the order in which the trials began."""
    return [trial.values for trial in sorted(found.trials, key=lambda t: t.id)]


@pytest.mark.parametrize(
    ("kind", "trials"), [("random", 40), ("bayesian", 20), ("hyperband", None), ("grid", None)]
)
def test_each_kind_finds_the_planted_best(fake: Any, kind: str, trials: int | None) -> None:
    found = fake(search=kind, trials=trials, prune=False)
    assert found.best.values["model.hidden_units"] == [64]
    assert 10**-2.5 < found.best.values["train.learning_rate"] < 10**-1.5
    assert len(found.trials) == found.planned
    assert found.best.score == pytest.approx(planted(found.best.values), abs=0.03)
    if kind != "grid":  # Which has the config's own values where they are.
        first = values(found)[0]
        assert first == {"train.learning_rate": 1e-3, "model.hidden_units": [128, 64]}
        assert found.own is not None


def test_bayesian_search_is_better_than_chance(fake: Any) -> None:
    space = {"train.learning_rate": {"log": [1e-9, 1.0]}, "train.l2": {"float": [0.0, 1.0]}}

    def measure(given: Any) -> dict[str, float]:
        return {"auc": planted(given) - given["train.l2"]}

    chance, guided = (
        fake(kind, search=kind, space=space, trials=16, prune=False, measure=measure)
        for kind in ("random", "bayesian")
    )
    assert guided.best.score > chance.best.score


def test_a_grid_is_exhaustive_and_knows_conditions(fake: Any) -> None:
    space = {
        "model.family": {"choice": ["dnn", "dcn"]},
        "model.dcn.cross_layers": {"int": [1, 3], "when": {"model.family": "dcn"}},
        "train.l2": {"float": [0.0, 0.2, 0.1]},
        "train.jit_compile": {"boolean": None},
    }
    found = fake(search="grid", space=space, prune=False)
    tried = [tuple(sorted(map(str, v.items()))) for v in values(found)]
    assert len(tried) == len(set(tried)) == (1 + 3) * 3 * 2
    assert all(
        ("model.dcn.cross_layers" in v) == (v["model.family"] == "dcn") for v in values(found)
    )
    assert len(fake("some", search="grid", space=space, prune=False, trials=5).trials) == 5


def test_hyperband_goes_on_with_the_best_third(fake: Any) -> None:
    found = fake(search="hyperband", rounds=9)
    by_rounds = {n: [t for t in found.trials if len(t.history) == n] for n in (1, 3, 9)}
    # 9 + 3 + 1, 5 + 2, and 3 trials: see the paper's table, and keras-tuner's rounding.
    assert {n: len(trials) for n, trials in by_rounds.items()} == {1: 9, 3: 3 + 5, 9: 1 + 2 + 3}
    assert len(found.trials) == found.planned == 23


@pytest.mark.parametrize("parallel", [1, 2])
@pytest.mark.parametrize("kind", ["random", "bayesian", "hyperband", "grid"])
def test_a_killed_search_goes_on_where_it_was(fake: Any, kind: str, parallel: int) -> None:
    tune = {"search": kind, "trials": 12, "parallel": parallel, "rounds": 4}
    if kind == "grid":
        tune["space"] = {**SPACE, "train.learning_rate": {"choice": [1e-4, 1e-3, 1e-2, 1e-1]}}
    undisturbed = fake("undisturbed", **tune)
    ran: list[str] = []
    for trials in (3, 1, 4):
        with pytest.raises(Killed):
            fake("killed", dies_after=trials, ran=ran, **tune)
    resumed = fake("killed", ran=ran, **tune)
    assert values(resumed) == values(undisturbed)
    assert [t.score for t in resumed.trials] == [t.score for t in undisturbed.trials]
    assert len(ran) == 12  # None ran twice.


def test_parallel_searches_try_the_same(fake: Any) -> None:
    one, three = (fake(str(n), search="random", trials=9, parallel=n) for n in (1, 3))
    assert values(one) == values(three)


def test_another_search_does_not_go_on(fake: Any) -> None:
    ran: list[str] = []
    with pytest.raises(Killed):
        fake(search="random", trials=4, dies_after=2, ran=ran)
    fake(search="random", trials=4, seed=5, ran=ran)
    assert len(ran) == 2 + 4


def test_a_bad_trial_is_pruned_and_ranks_behind(fake: Any) -> None:
    rates = [1e-2, 2e-2, 5e-3, 1e-2 / 3, 1.0, 1.2e-2]
    space = {"train.learning_rate": {"choice": rates}}
    found = fake(search="grid", space=space)
    [pruned] = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned.values == {"train.learning_rate": 1.0}
    assert pruned.rank == len(rates)
    assert pruned.steps == 20
    assert "median after 20 steps" in pruned.reason
    kept = fake("kept", search="grid", space=space, prune=False)
    assert {trial.state for trial in kept.trials} == {"complete"}


def test_a_failed_trial_is_not_the_end(fake: Any) -> None:
    def measure(given: Any) -> dict[str, float]:
        return {"auc": planted(given)} if given["train.learning_rate"] < 0.01 else {}

    found = fake(search="bayesian", trials=10, measure=measure)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert failed
    assert all((t.rank, t.score) == (0, None) and "nan" in t.reason for t in failed)
    assert found.best.rank == 1
    with pytest.raises(NodeFailed, match="all 3 trials failed: the training loss became nan"):
        fake("all", search="random", trials=3, measure=lambda _: {})


def test_values_that_do_not_go_together_are_a_failed_trial(fake: Any) -> None:
    def measure(given: Any) -> dict[str, float]:
        try:
            applied(given, ModelConfig(), TrainConfig())
        except ConfigError:
            return {}
        return {"auc": 0.7}

    space = {
        "train.batch_size": {"choice": [128, 90]},
        "train.accumulate_steps": {"choice": [1, 4]},
    }
    tune = {"search": "grid", "space": space, "measure": measure, "prune": False}
    found = fake(**tune)
    [failed] = [trial for trial in found.trials if trial.state == "failed"]
    assert failed.values == {"train.batch_size": 90, "train.accumulate_steps": 4}
    assert not failed.own
    assert found.own is not None
    with pytest.raises(Killed):
        fake("killed", dies_after=3, **tune)
    assert len(fake("killed", **tune).trials) == 4


def test_budgets_come_before_the_metric(fake: Any) -> None:
    def measure(given: Any) -> dict[str, float]:
        units = sum(given["model.hidden_units"])
        return {"auc": 0.5 + units / 1000, "parameters": 10.0 * units, "log_loss": 0.3}

    space = {"model.hidden_units": {"choice": [[128, 64], [64], [32], [8]]}}
    tune = {"search": "grid", "space": space, "measure": measure, "prune": False}
    assert fake("free", **tune).best.values == {"model.hidden_units": [128, 64]}
    found = fake("bound", **tune, budgets={"parameters": 700, "metrics": {"log_loss": 0.4}})
    assert [t.values["model.hidden_units"] for t in found.trials] == [[64], [32], [8], [128, 64]]
    assert found.trials[-1].exceeds == {"parameters": pytest.approx(1920 / 700 - 1)}
    with pytest.raises(NodeFailed, match=r"the nearest one: parameters 80 is over by 60\.0%"):
        fake("none", **tune, budgets={"parameters": 50})


def test_a_plot_that_cannot_be_written(fake: Any, tmp_path: Path) -> None:
    found = fake(search="random", trials=2)
    (tmp_path / "plot.png.unfinished").symlink_to("/dev/full")
    with pytest.raises(StorageError) as raised:
        plot_trials(found, tmp_path / "plot.png")
    assert raised.value.where == str(tmp_path / "plot.png")


def test_the_time_is_bounded(fake: Any) -> None:
    found = fake(search="random", trials=10, max_seconds=1e-6)
    [only] = found.trials
    assert (only.state, only.reason, only.rank) == ("pruned", "tune.max_seconds are over", 1)


def test_a_section_of_the_model_that_is_left_out_has_its_defaults() -> None:
    model, train = ModelConfig(family="dcn"), TrainConfig()
    assert own_value("model.dcn.cross_layers", model, train) == 3
    assert own_value("train.learning_rate", model, train) == train.learning_rate
    # Early stopping that is left out is off.
    assert own_value("train.early_stopping.patience_epochs", model, train) is None
