"""Checks of the config against itself: fields that are right each, and wrong together."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.lint.registry import Problem, register


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
def slices_are_columns(config: PipelineConfig) -> Iterator[Problem]:
    """A slice by a column that is not read would hold no row."""
    known = [*config.features.columns, config.data.label.column]
    for keys in config.gates.quality.slices:
        for key in keys:
            if key not in known:
                yield Problem(
                    "gates.quality.slices", f"no such column: {key!r}", _nearest(key, known)
                )


@register
def compared_columns_exist(config: PipelineConfig) -> Iterator[Problem]:
    """Drift and skew limits name columns that are read, with a distance that fits their kind."""
    gate = config.gates.data
    known = [*config.features.columns, config.data.label.column]
    for section, limits in (("drift", gate.drift), ("skew", gate.skew)):
        for column, limit in limits.items():
            field = f"gates.data.{section}.{column}"
            feature = config.features.columns.get(column)
            if column not in known:
                yield Problem(field, "no such column", _nearest(column, known))
            elif feature is not None and feature.kind == "numeric" and limit.linf is not None:
                yield Problem(field, "`linf` compares categories", "use jensen_shannon")


@register
def early_stopping_has_rows(config: PipelineConfig) -> Iterator[Problem]:
    """Early stopping watches the validation split."""
    split = config.data.split
    if (
        config.train.early_stopping is not None
        and split.method in ("hash", "time")
        and not split.val_fraction
    ):
        yield Problem(
            "train.early_stopping",
            "there is no validation split to watch",
            "set data.split.val_fraction, for instance to 0.07",
        )


@register
def quality_gate_can_bless(config: PipelineConfig) -> Iterator[Problem]:
    """Gates fail closed: without a threshold every model would be trained and then refused."""
    if not config.gates.quality.thresholds:
        yield Problem(
            "gates.quality.thresholds",
            "no threshold, and gates fail closed: every model would be refused",
            "add one, for instance {metric: auc, min: 0.6}",
        )


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
