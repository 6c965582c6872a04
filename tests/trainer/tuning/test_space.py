"""The search space in the config: what it may say, and what it makes of the sections."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn import metrics as sklearn_metrics

from tfx_pipeline.errors import ConfigError
from trainer.config import ModelConfig, TrainConfig
from trainer.tuning.config import Budgets, Range, TuneConfig
from trainer.tuning.metrics import measure, metrics_of
from trainer.tuning.objective import Objective
from trainer.tuning.pruning import worse_than_median
from trainer.tuning.space import Problem, applied, decoded, encoded, problems


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "give one of `choice`"),
        ({"int": [1, 2], "float": [1, 2]}, "give one of `choice`"),
        ({"int": [2, 2]}, "2 is not below the highest 2"),
        ({"log": [0, 1]}, "is not above 0"),
        ({"int": [1, 4, 9]}, "a step of 9 does not fit"),
        ({"boolean": False}, "give one of `choice`"),
        ({"choice": []}, "at least 1 item"),
        ({"int": [1, 2], "when": {"model.family": "dcn"}}, "no field of the space above"),
    ],
)
def test_what_is_no_range(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TuneConfig.model_validate({"space": {"train.l2": given}})


def test_numbers_as_yaml_reads_them() -> None:
    # 1e-4 without a dot is text to YAML.
    assert Range.model_validate({"log": ["1e-4", "1e-2"]}).log == [1e-4, 1e-2]
    assert Range.model_validate({"boolean": None}).boolean is True
    again = Range.model_validate(Range.model_validate({"boolean": None}).model_dump(mode="json"))
    assert again.boolean is True


def found(path: str, **given: object) -> list[Problem]:
    space = TuneConfig.model_validate({"space": {path: given}}).space
    return list(problems(space, ModelConfig(), TrainConfig()))


def test_a_space_that_fits() -> None:
    assert not found("train.learning_rate", log=[1e-4, 1e-2])
    assert not found("model.hidden_units", choice=[[64], [128, 64]])
    assert not found("train.early_stopping.patience_epochs", int=[1, 5])
    assert not found("train.early_stopping", choice=[None, {"patience_epochs": 2}])
    assert not found("train.batch_size", log=[32, 512])
    assert not found("train.optimizer", choice=["adam", "lion", {"name": "sgd", "momentum": 0.9}])


def test_a_field_that_does_not_exist() -> None:
    [problem] = found("train.learningrate", log=[1e-4, 1e-2])
    assert problem.hint == "did you mean 'train.learning_rate'?"
    [problem] = found("model.dcn.cross_layer", int=[1, 4])
    assert problem.hint == "did you mean 'model.dcn.cross_layers'?"
    [problem] = found("gates.quality", int=[1, 4])
    assert problem.what == "there is no such field in the config"
    [problem] = found("train.run_fn", choice=["a.b"])
    assert "cannot be tuned" in problem.what


def test_values_that_the_config_does_not_take() -> None:
    [problem] = found("model.dropout", float=[0, 1])
    assert (
        "1.0 is no value of this field (model.dropout: input should be less than 1" in problem.what
    )
    [problem] = found("model.hidden_units", choice=[[64], 64])
    assert problem.what.startswith("64 is no value")
    [problem] = found("model.family", choice=["dnn", "dnm"])
    assert problem.what.startswith("'dnm' is no value")
    # It belongs to another family; `when` says which.
    [problem] = found("model.dcn.cross_layers", int=[1, 4])
    assert "dcn" in problem.what
    space = {
        "model.family": {"choice": ["dnn", "dcn"]},
        "model.dcn.cross_layers": {"int": [1, 4], "when": {"model.family": "dcn"}},
        "model.dropout": {"float": [0, 0.5], "when": {"model.family": ["dnn", "linaer"]}},
    }
    [problem] = problems(
        TuneConfig.model_validate({"space": space}).space, ModelConfig(), TrainConfig()
    )
    assert problem.path == "model.dropout"
    assert "'linaer', which is none of the choices" in problem.what


def test_applied_values() -> None:
    model = ModelConfig.model_validate({"family": "dcn", "dcn": {"cross_layers": 2}})
    values = {"model.family": "dnn", "train.early_stopping.patience_epochs": 2}
    changed, train = applied(values, model, TrainConfig())
    assert (changed.family, changed.dcn) == ("dnn", None)
    assert train.early_stopping is not None
    assert train.early_stopping.patience_epochs == 2
    assert applied({}, model, TrainConfig()) == (model, TrainConfig())
    with pytest.raises(ConfigError, match=r"should be greater than or equal to 1") as raised:
        applied({"train.batch_size": 0}, model, TrainConfig())
    assert raised.value.where == "train.batch_size"
    assert raised.value.hint


def test_another_family_keeps_what_is_of_every_family() -> None:
    given = {"family": "dcn", "dcn": {"rank": 2}, "ensemble": {"method": "bagging"}}
    model = ModelConfig.model_validate(given)
    changed, _ = applied({"model.family": "residual"}, model, TrainConfig())
    assert (changed.family, changed.dcn) == ("residual", None)
    assert changed.ensemble == model.ensemble
    back, _ = applied({"model.family": "dcn"}, model, TrainConfig())
    assert back == model


def test_a_section_by_its_name_and_a_setting_of_it() -> None:
    values = {"train.optimizer": "sgd", "train.optimizer.momentum": 0.5}
    _, train = applied(values, ModelConfig(), TrainConfig())
    assert (train.optimizer.name, train.optimizer.momentum) == ("sgd", 0.5)
    with pytest.raises(ConfigError, match="should be 'last' or 'best'"):
        applied({"train.keep": "best", "train.keep.days": 3}, ModelConfig(), TrainConfig())


@pytest.mark.parametrize(
    "choices",
    [
        [1, 2],
        [1.0, 2.5],
        [0, 0.5],
        ["a", "b"],
        [[64], [128, 64]],
        [None, {"a": 1}],
        ["json:x", "y"],
    ],
)
def test_choices_survive_keras_tuner(choices: list[object]) -> None:
    written = encoded(choices)
    assert len({type(value) for value in written}) == 1
    assert [decoded({"model.x": value})["model.x"] for value in written] == choices
    assert decoded({"tuner/epochs": 3, "train.l2": 0.5}) == {"train.l2": 0.5}


def test_metrics_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    label = rng.integers(0, 2, 300)
    p = np.round(rng.uniform(0.1, 0.9, 300), 1)  # With ties.
    binary = measure("binary", label[:, None], p[:, None])
    assert binary["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(label, p))
    assert binary["log_loss"] == pytest.approx(sklearn_metrics.log_loss(label, p))
    assert binary["accuracy"] == pytest.approx(np.mean((p > 0.5) == label))
    rows = rng.dirichlet([1, 1, 1], 300)
    classes = rng.integers(0, 3, 300)
    several = measure("multiclass", classes, rows)
    assert several["log_loss"] == pytest.approx(sklearn_metrics.log_loss(classes, rows))
    value = rng.normal(size=300)
    number = measure("regression", value, value[:, None] + 0.1)
    assert number["rmse"] == pytest.approx(0.1)
    assert number["r2"] == pytest.approx(sklearn_metrics.r2_score(value, value + 0.1))
    assert np.isnan(measure("binary", np.ones(4), np.ones((4, 1)))["auc"])
    assert np.isnan(measure("binary", label, np.full((300, 1), np.nan))["log_loss"])


def test_metrics_of_several_classes_are_those_of_the_gates() -> None:
    from tfx_pipeline.gates.measures import measure as measured

    rng = np.random.default_rng(6)
    has = rng.integers(0, 2, (200, 4))
    has[:, 3] = 0  # A class that no row has, and none is said to have.
    p = np.round(rng.uniform(0, 1, (200, 4)), 2)
    p[:, 3] = 0.1
    found = measure("multilabel", has, p)
    assert tuple(found) == metrics_of("multilabel")
    gates = measured("multilabel", has, p)
    for name, value in found.items():
        assert value == pytest.approx(gates[name], abs=1e-3), name
    assert found["macro_auc"] == pytest.approx(
        sklearn_metrics.roc_auc_score(has[:, :3], p[:, :3], average="macro")
    )
    assert found["micro_f1"] == pytest.approx(
        sklearn_metrics.f1_score(has, p > 0.5, average="micro")
    )
    nothing = measure("multilabel", np.zeros((3, 2)), np.zeros((3, 2)))
    assert np.isnan([nothing["macro_auc"], nothing["macro_f1"], nothing["micro_f1"]]).all()
    assert nothing["subset_accuracy"] == 1


def test_metrics_of_quantiles_are_those_of_the_gates() -> None:
    from tfx_pipeline.gates.measures import measure as measured

    rng = np.random.default_rng(7)
    value, levels = np.round(rng.normal(size=(300, 1)), 1), [0.1, 0.4, 0.6, 0.9]
    crossing = np.round(rng.normal(size=(300, 4)), 1)
    found = measure("quantile", value, crossing, levels)
    assert set(found) == set(metrics_of("quantile", levels))
    gates = measured("quantile", value, np.sort(crossing, axis=1), levels)
    for name, number in found.items():
        assert number == pytest.approx(gates[name], abs=1e-6), name
    losses = [
        sklearn_metrics.mean_pinball_loss(value[:, 0], column, alpha=q)
        for q, column in zip(levels, np.sort(crossing, axis=1).T, strict=True)
    ]
    assert found["pinball_loss"] == pytest.approx(np.mean(losses))
    one = measure("quantile", value, crossing[:, :1], [0.5])
    assert tuple(one) == ("pinball_loss", "quantile_error", "mae")
    assert set(one) == set(metrics_of("quantile", [0.5]))


def test_a_folded_score_puts_budgets_first() -> None:
    objective = Objective("auc", Budgets(parameters=100, metrics={"accuracy": 0.8}))
    good = objective.score({"auc": 0.6, "parameters": 100, "accuracy": 0.8})
    better = objective.score({"auc": 0.7, "parameters": 10, "accuracy": 0.9})
    large = objective.score({"auc": 0.99, "parameters": 101, "accuracy": 0.9})
    larger = objective.score({"auc": 0.99, "parameters": 200, "accuracy": 0.9})
    unknown = objective.score({"auc": 0.99, "parameters": 10, "accuracy": float("nan")})
    assert better < good < 1 < large < larger
    assert unknown > 1
    assert Objective("auc", Budgets()).score({"auc": 0.7}) == 0.7


def test_the_median_rule() -> None:
    others = [[0.5, 0.6, 0.7], [0.5, 0.7, 0.8], [0.6, 0.8, 0.9], [0.4, 0.5, 0.6]]
    assert worse_than_median([0.3, 0.64], others, higher=True)
    assert not worse_than_median([0.3, 0.66], others, higher=True)
    assert not worse_than_median([0.0], others, higher=True)  # The first round tells little.
    assert not worse_than_median([0.3, 0.1], others[:3], higher=True)
    assert worse_than_median([0.9, 0.66], others, higher=False)
    assert not worse_than_median([0.4, 0.9], others, higher=False)
