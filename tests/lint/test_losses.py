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
