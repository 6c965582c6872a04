"""Checks of the `train` section against the columns that there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.lint.registry import Problem, register
from transform.augment.synonyms import read_synonyms


@register
def augmentation_has_columns(config: PipelineConfig) -> Iterator[Problem]:
    """What is changed in training is there to be changed."""
    if config.features.by_user:
        return  # What comes out of it is known when it has run.
    kinds = {column.kind for column in config.features.columns.values()}
    tabular = kinds - {"image", "text"}
    train, augment = config.train, config.train.augment
    asked = {
        "train.cutout": (train.cutout, "image" in kinds, "image"),
        "train.augment.image": (augment and augment.image, "image" in kinds, "image"),
        "train.augment.text": (augment and augment.text, "text" in kinds, "text"),
        "train.augment.tabular": (augment and augment.tabular, bool(tabular), "tabular"),
    }
    for field, (section, there, kind) in asked.items():
        if section is not None and not there:
            yield Problem(field, f"there is no {kind} column to change", "drop it")
    if train.adversarial is not None and not kinds & {"numeric", "image", "series"}:
        yield Problem(
            "train.adversarial", "an attack moves numbers, and no column is a number", "drop it"
        )


@register
def synonyms_are_readable(config: PipelineConfig) -> Iterator[Problem]:
    """The file of synonyms is there, each line a set of words."""
    augment = config.train.augment
    if augment is not None and augment.text is not None and augment.text.synonyms is not None:
        read_synonyms(config.folder / Path(augment.text.synonyms).expanduser())
    yield from ()
