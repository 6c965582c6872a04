"""`assay check` on training: what it changes is there, and so is what it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint.test_lint import GATE, GOOD, config
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.lint import lint


@pytest.mark.parametrize(
    ("train", "says"),
    [
        ("cutout: {}", "no image column to change"),
        ("augment: {image: {flip: both}}", "no image column to change"),
        ("augment: {text: {dropout: 0.1}}", "no text column to change"),
    ],
)
def test_what_is_changed_is_there(tmp_path: Path, train: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        lint(config(tmp_path, f"{GOOD}{GATE}train:\n  {train}\n"))


def test_numbers_are_there_to_be_changed(tmp_path: Path) -> None:
    train = "train:\n  adversarial: {epsilon: 0.1}\n  augment: {tabular: {noise: 0.1}}\n"
    lint(config(tmp_path, GOOD + GATE + train))


def test_synonyms_are_read_before_anything_runs(tmp_path: Path) -> None:
    train = "train:\n  augment: {text: {synonyms: words.txt}}\n"
    with pytest.raises(ConfigError, match=r"synonyms cannot be read|no text column"):
        lint(config(tmp_path, GOOD + GATE + train))
