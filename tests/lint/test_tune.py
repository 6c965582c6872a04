"""`assay check` on the search space: the line, and the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.test_load import GOOD
from tests.lint.test_lint import GATE, config
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.lint import lint

TUNE = """\
tune:
  search: random
  space:
    train.learning_rate: {log: [1e-4, 1e-2]}
    model.hidden_units: {choice: [[64], [128, 64]]}
"""


def test_a_search_space_that_fits(tmp_path: Path) -> None:
    found = config(tmp_path, GOOD + GATE + TUNE)
    lint(found)
    assert found.tune is not None
    assert found.tune.space["train.learning_rate"].log == [1e-4, 1e-2]


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("learning_rate", "learning_rat", 14, "did you mean 'train.learning_rate'"),
        ("[128, 64]", "64", 15, "64 is no value of this field"),
        ("search: random", "search: random\n  objective: rmse", 13, "no metric 'rmse'"),
        ("search: random", "search: random\n  parallel: 0", 13, "greater than or equal to 1"),
        ("random", "randon", 12, "Did you mean 'random'"),
        ("log: [1e-4, 1e-2]", "log: [1, 1e-2]", 14, "1 is not below the highest 0.01"),
        ("log: [1e-4, 1e-2]", "lg: [1, 1e-2]", 14, "did you mean 'log'"),
    ],
)
def test_a_mistake_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        lint(config(tmp_path, GOOD + GATE + TUNE.replace(old, new)))
    assert f"pipeline.yaml:{line}" in raised.value.where


def test_there_must_be_rows_to_judge_by(tmp_path: Path) -> None:
    text = GOOD.replace("  path: rows.csv", "  path: rows.csv\n  split: {val_fraction: 0}")
    with pytest.raises(ConfigError, match="no validation split to judge the trials on"):
        lint(config(tmp_path, text + GATE + TUNE))


def test_a_trainer_of_the_users_is_not_tuned(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def run_fn(fn_args):\n    pass\n")
    text = GOOD + GATE + TUNE + "train: {run_fn: mine.py:run_fn}\n"
    with pytest.raises(ConfigError, match=r"train\.run_fn is yours"):
        lint(config(tmp_path, text))


def test_the_learning_rate_of_a_trial_comes_to_its_peak(tmp_path: Path) -> None:
    train = "train: {steps: 100, schedule: {name: cosine, warmup_steps: 50}}\n"
    with pytest.raises(ConfigError, match="50 leave none of the 50 steps of a trial"):
        lint(config(tmp_path, GOOD + GATE + TUNE + train))
    lint(config(tmp_path, GOOD + GATE + TUNE.replace("random", "random\n  steps: 51") + train))
    # Where it is in the space itself, it is its values that count.
    within = TUNE + "    train.schedule.warmup_steps: {int: [0, HIGH]}\n" + train
    lint(config(tmp_path, GOOD + GATE + within.replace("HIGH", "49")))
    with pytest.raises(ConfigError, match="with 60: warmup_steps 60 leave none") as raised:
        lint(config(tmp_path, GOOD + GATE + within.replace("HIGH", "60")))
    assert "pipeline.yaml:16" in raised.value.where


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("train.early_stopping.patience_epochs: {int: [1, 3]}", "train.early_stopping does not go"),
        ("train.schedule: {choice: [constant, cosine]}", "train.schedule does not go with"),
        ("train.steps: {int: [2, 900]}", "train.steps 2 do not divide into 3 cycles"),
        ("train.class_weights: {choice: [null, {ys: 3}]}", "'ys', which is no class"),
    ],
)
def test_the_trainer_takes_what_is_found(tmp_path: Path, more: str, says: str) -> None:
    text = GOOD + GATE + TUNE + f"    {more}\n" + "model: {ensemble: {method: snapshot}}\n"
    with pytest.raises(ConfigError, match=says) as raised:
        lint(config(tmp_path, text))
    assert "pipeline.yaml:16" in raised.value.where
    lint(config(tmp_path, GOOD + GATE + TUNE + "model: {ensemble: {method: snapshot}}\n"))
