"""`assay check` of a pretrained encoder, and whose change is a change of the nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfx_pipeline.config import PipelineConfig, load_config
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.lint.encoders import (
    encoders_have_columns,
    pretrained_encoder_fits,
    vocabularies_are_readable,
)
from trainer.models.encoders.pretrained_files import described
from trainer.models.encoders.text_transformer import Sizes

CONFIG = """
name: reviews
data: {path: reviews.csv, label: {column: liked, classes: ["no", "yes"]}}
features:
  columns:
    review: {kind: text, output: sequence, vocabulary: encoder/vocabulary.txt}
model:
  text: {encoder: pretrained, pretrained: {path: encoder}}
"""


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "encoder.h5").write_bytes(b"weights")
    (folder / "vocabulary.txt").write_text("the\ncat\n")
    (folder / "config.json").write_text(described(Sizes(4, 64, 8, 1, 2, 8), {}))
    return folder


def read(folder: Path, text: str = CONFIG) -> PipelineConfig:
    (folder / "pipeline.yaml").write_text(text)
    return load_config(folder)


def problems(config: PipelineConfig) -> list[str]:
    found = [*pretrained_encoder_fits(config), *vocabularies_are_readable(config)]
    return [f"{problem.field}: {problem.what} ({problem.hint})" for problem in found]


def test_an_encoder_with_its_words_passes(tmp_path: Path, encoder: Path) -> None:
    assert problems(read(tmp_path)) == []


def test_a_column_without_the_encoders_words(tmp_path: Path, encoder: Path) -> None:
    without = CONFIG.replace(", vocabulary: encoder/vocabulary.txt", "")
    assert problems(read(tmp_path, without)) == [
        "features.columns.review: the encoder has learned a vocabulary of its own "
        "(set `vocabulary: encoder/vocabulary.txt`)"
    ]
    (tmp_path / "mine.txt").write_text("a\ncat\n")
    other = CONFIG.replace("encoder/vocabulary.txt", "mine.txt")
    assert "word 1 is 'a', and 'the' in the encoder's" in problems(read(tmp_path, other))[0]


def test_an_encoder_that_reads_nothing(tmp_path: Path, encoder: Path) -> None:
    bag = CONFIG.replace("output: sequence, vocabulary: encoder/vocabulary.txt", "output: bag")
    assert "the encoder would read nothing" in problems(read(tmp_path, bag))[0]


def test_files_that_are_missing(tmp_path: Path) -> None:
    config = read(tmp_path)
    with pytest.raises(ConfigError, match="there is no encoder"):
        problems(config)
    average = CONFIG.partition("model:")[0]
    with pytest.raises(ConfigError, match="there is no vocabulary file"):
        problems(read(tmp_path, average))


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("{text: {encoder: gru}}", "model.text"),
        ("{series: {units: 8}}", "model.series"),
        ("{image: {encoder: resnet}}", "model.image"),
        ("{hidden_units: [4]}", None),
    ],
)
def test_an_encoder_without_a_column(tmp_path: Path, model: str, field: str | None) -> None:
    text = CONFIG.partition("model:")[0].partition(", output")[0] + "}\n" + f"model: {model}\n"
    found = list(encoders_have_columns(read(tmp_path, text)))
    assert [problem.field for problem in found] == ([field] if field else [])
    assert all(problem.hint for problem in found)


@pytest.mark.slow
def test_another_file_is_another_node(tmp_path: Path, encoder: Path) -> None:
    """Weights are the Trainer's matter alone; words are Transform's too."""
    from tfx_pipeline.graph import _trainer_config, _transform_config

    config = read(tmp_path)
    transform, trainer = _transform_config(config), _trainer_config(config)
    path = transform["transform"]["features"]["columns"]["review"]["vocabulary"]
    assert path == str((encoder / "vocabulary.txt").resolve())
    assert trainer["folder"] == str(tmp_path.resolve())
    (encoder / "encoder.h5").write_bytes(b"better weights")
    assert _transform_config(config) == transform
    assert _trainer_config(config) != trainer
    (encoder / "vocabulary.txt").write_text("the\ndog\n")
    assert _transform_config(config) != transform


@pytest.mark.slow
def test_files_of_the_search_space_are_of_the_node_too(tmp_path: Path, encoder: Path) -> None:
    from tfx_pipeline.graph import _trainer_config

    (tmp_path / "pairs.txt").write_text("good great\n")
    tune = """
tune:
  space:
    model.text.encoder: {choice: [average, pretrained]}
    model.text.pretrained: {choice: [{path: encoder}], when: {model.text.encoder: pretrained}}
    train.augment: {choice: [null, {text: {synonyms: pairs.txt}}]}
"""
    # One whose own values read no file, so that nothing else says where a file starts from.
    average = CONFIG.partition("model:")[0].replace(", vocabulary: encoder/vocabulary.txt", "")
    config = read(tmp_path, average + tune)
    before = _trainer_config(config)
    assert set(before["code"]) == {"tfx-assay", "encoder", "pairs.txt"}
    assert before["folder"] == str(tmp_path.resolve())
    (encoder / "encoder.h5").write_bytes(b"better weights")
    between = _trainer_config(config)
    assert between != before
    (tmp_path / "pairs.txt").write_text("good great fine\n")
    assert _trainer_config(config) != between
