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
