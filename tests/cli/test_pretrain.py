"""`assay pretrain`: from a config and its data to an encoder that the config can name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tfx_pipeline.cli.main import app
from tfx_pipeline.errors import ConfigError, DataError

CONFIG = """
name: reviews
data: {path: reviews.csv, label: {column: liked, classes: ["no", "yes"]}}
features:
  columns:
    review: {kind: text, output: sequence, max_length: 5}
model:
  text:
    encoder: transformer
    embedding_dim: 8
    transformer: {blocks: 1, heads: 2, feedforward: 1}
"""
ROWS = 60


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.yaml").write_text(CONFIG)
    lines = [f"a {word} film {i},{label}" for i in range(ROWS) for word, label in GOOD_AND_BAD]
    (tmp_path / "reviews.csv").write_text("\n".join(["review,liked", *lines]))
    return tmp_path


GOOD_AND_BAD = (("good", "yes"), ("bad", "no"))


def pretrain(project: Path, *words: str) -> str:
    arguments = ["pretrain", str(project), "-o", str(project / "encoder"), *words]
    return CliRunner().invoke(app, arguments, catch_exceptions=False).output


@pytest.mark.slow
def test_it_writes_what_the_config_can_name(project: Path) -> None:
    from tfx_pipeline.config import load_config
    from tfx_pipeline.lint.encoders import pretrained_encoder_fits

    (project / "more.txt").write_text("a silent film\n\na silent evening\n")
    said = pretrain(project, "--steps", "2", "--batch-size", "8", "--texts", f"{project}/more.txt")
    assert "hidden words of texts it has not seen" in said
    assert "vocabulary: encoder/vocabulary.txt" in said
    written = json.loads((project / "encoder" / "config.json").read_text())
    assert written["sizes"]["width"] == 8
    assert written["sizes"]["length"] == 5
    # Of the eval split's rows it has read none, of the other file's all.
    assert ROWS < written["held_out"]["texts"] < 2 * ROWS
    words = (project / "encoder" / "vocabulary.txt").read_text().split()
    assert words[0] == "a"
    assert {"good", "bad", "silent"} <= set(words)
    changed = CONFIG.replace("max_length: 5", "max_length: 5, vocabulary: encoder/vocabulary.txt")
    changed = changed.replace(
        "encoder: transformer", "encoder: pretrained\n    pretrained: {path: encoder}"
    )
    (project / "pipeline.yaml").write_text(changed)
    assert list(pretrained_encoder_fits(load_config(project))) == []


def test_a_column_that_is_no_sequence(project: Path) -> None:
    with pytest.raises(ConfigError, match="'stars' is no text column") as caught:
        pretrain(project, "--column", "stars")
    assert "review" in caught.value.hint


def test_texts_that_cannot_be_read(project: Path) -> None:
    with pytest.raises(DataError, match="the texts cannot be read"):
        pretrain(project, "--texts", str(project / "none.txt"))
