"""Checks that a pretrained encoder is there, and that columns have the words it has learned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.lint.registry import Problem, register
from trainer.models.encoders import pretrained_files
from transform.config import TextFeature
from transform.vocabulary_file import difference_of, read_words


@register
def pretrained_encoder_fits(config: PipelineConfig) -> Iterator[Problem]:
    """The encoder exists, and its words are those of the columns; Trainer would find out late."""
    given = config.model.text.pretrained
    if config.model.builder or config.model.text.encoder != "pretrained" or given is None:
        return
    columns = {
        name: feature
        for name, feature in config.features.columns.items()
        if isinstance(feature, TextFeature) and feature.output == "sequence"
    }
    if not columns and not config.features.by_user:
        yield Problem(
            "model.text.encoder",
            "no column is a text with `output: sequence`: the encoder would read nothing",
        )
    if pretrained_files.is_handle(given.path):
        return  # It may have to be fetched.
    files = pretrained_files.find(given.path, config.folder)
    theirs = read_words(files.vocabulary)
    for name, feature in columns.items():
        field = f"features.columns.{name}"
        hint = f"set `vocabulary: {_shown(files.vocabulary, config.folder)}`"
        if feature.vocabulary is None:
            yield Problem(field, "the encoder has learned a vocabulary of its own", hint)
            continue
        ours = read_words(config.folder / Path(feature.vocabulary).expanduser())
        if difference := difference_of(ours, theirs):
            yield Problem(f"{field}.vocabulary", f"it is not the encoder's: {difference}", hint)


@register
def encoders_have_columns(config: PipelineConfig) -> Iterator[Problem]:
    """An encoder that is chosen reads a column; a text that is a bag is none of them."""
    if config.model.builder or config.features.by_user:
        return
    columns = config.features.columns.values()
    read = {
        "image": any(feature.kind == "image" for feature in columns),
        "text": any(isinstance(f, TextFeature) and f.output == "sequence" for f in columns),
        "series": any(feature.kind == "series" for feature in columns),
    }
    hints = {"text": "give a text column `output: sequence`, or drop the section"}
    for name, there in read.items():
        section = getattr(config.model, name)
        if not there and section != type(section)() and section.encoder != "pretrained":
            yield Problem(
                f"model.{name}",
                "no column is read by this encoder",
                hints.get(name, f"add a column of `kind: {name}`, or drop the section"),
            )


@register
def vocabularies_are_readable(config: PipelineConfig) -> Iterator[Problem]:
    """Vocabulary files are there, with a word a line."""
    for feature in config.features.columns.values():
        if isinstance(feature, TextFeature) and feature.vocabulary:
            read_words(config.folder / Path(feature.vocabulary).expanduser())
    yield from ()


def _shown(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path
