"""`assay check` on losses: told before anything runs, and not by the Trainer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint.test_lint import GATE, GOOD, config
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.lint import lint


@pytest.mark.parametrize(
    ("train", "says"),
    [
        ("class_weights: {ys: 3}", "Did you mean 'yes'"),
        ("calibrate: temperature", "needs a validation split"),
        (
            "early_stopping: {}\n  steps: 2\nmodel: {ensemble: {method: snapshot}}",
            "train.early_stopping does not go with",
        ),
        ("steps: 2\nmodel: {ensemble: {method: snapshot}}", "2 do not divide into 3 cycles"),
    ],
)
def test_a_loss_fits_the_label(tmp_path: Path, train: str, says: str) -> None:
    text = GOOD + GATE + f"train:\n  {train}\n"
    if "calibrate" in train:
        text = text.replace("label:", "split: {val_fraction: 0}\n  label:")
    with pytest.raises(ConfigError, match=says):
        lint(config(tmp_path, text))


def test_one_that_fits_passes(tmp_path: Path) -> None:
    train = "train: {class_weights: {'yes': 3}, calibrate: platt, loss: focal}\n"
    lint(config(tmp_path, GOOD + GATE + train))


def test_the_best_metric_is_one_of_the_label(tmp_path: Path) -> None:
    train = "train: {early_stopping: {}, best_metric: val_auc}\n"
    lint(config(tmp_path, GOOD + GATE + train))
    several = GOOD.replace('["no", "yes"]', '["no", "yes", "perhaps"]').replace(
        "task: binary", "task: multiclass"
    )
    gate = GATE.replace("auc", "accuracy")
    with pytest.raises(ConfigError, match="val_auc is not one of a multiclass label"):
        lint(config(tmp_path, several + gate + train))
