"""Checks of the config against itself: fields that are right each, and wrong together."""

from __future__ import annotations

from collections.abc import Iterator

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.lint.registry import Problem, register
from trainer import selection


@register
def label_is_no_feature(config: PipelineConfig) -> Iterator[Problem]:
    """A label among the features is known to the model only in training."""
    label = config.data.label.column
    if label in config.features.columns:
        yield Problem(
            f"features.columns.{label}",
            "this column is the label: a model that sees it learns nothing else",
            "remove it from features",
        )


@register
def split_column_is_no_feature(config: PipelineConfig) -> Iterator[Problem]:
    """With a column that names the split, the model could tell the splits apart."""
    split = config.data.split
    if split.method == "column" and split.column in config.features.columns:
        yield Problem(
            f"features.columns.{split.column}",
            "this column names the split",
            "remove it from features",
        )


@register
def early_stopping_has_rows(config: PipelineConfig) -> Iterator[Problem]:
    """Early stopping and the choice of the best weights watch the validation split."""
    train = config.train
    if selection.judges(train) and not config.data.split.has_val:
        yield Problem(
            "train.early_stopping" if train.early_stopping else "train.keep",
            "there is no validation split to watch",
            "set data.split.val_fraction, for instance to 0.07",
        )
