"""The function that TensorFlow Transform traces: raw columns to features, as the config says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from transform import (
    categorical,
    crosses,
    date,
    image,
    label,
    layout,
    numeric,
    raw,
    series,
    text,
    user_code,
)
from transform.config import Feature, TransformConfig


def preprocessing_fn(
    inputs: dict[str, raw.RawColumn], custom_config: dict[str, Any]
) -> dict[str, tf.Tensor | tf.SparseTensor]:
    """TFX's `preprocessing_fn`: the config's features, or the user's own function.

    TFX's Transform takes an import path only, so a function in a user's file is named in the
    config and called from here.

    Args:
        inputs: Raw columns: dense, sparse or ragged.
        custom_config: `transform`: a dumped `TransformConfig`; `folder`: the folder that a
            `file.py:function` starts from (default: the working folder).

    Returns:
        The features and `label_xf`, by name; `transform.layout` says how each is shaped.

    Raises:
        ConfigError: The user's function is not importable, returns no label, or a feature that no
            input of a model can take.
        DataError: A column is absent or has several values a row.
        NodeFailed: The user's function raised.
    """
    config = TransformConfig.model_validate(custom_config["transform"])
    if config.features.by_user:
        folder = Path(custom_config.get("folder") or ".")
        known = raw.without_marks(inputs, config.missing_values)
        path = config.features.preprocessing_fn
        outputs = user_code.transform(path, folder, known, custom_config)
        layout.check_traced(path, outputs)
        return outputs
    return transform(inputs, config)


def transform(
    inputs: Mapping[str, raw.RawColumn], config: TransformConfig
) -> dict[str, tf.Tensor | tf.SparseTensor]:
    """The features and the label that the config describes (inside a TFT trace)."""
    columns = config.features.columns
    # Ingest has dropped the marks from the training data; a request may bring them.
    inputs = raw.without_marks(inputs, config.missing_values)
    return {
        **numeric.features(inputs, _of_kind(columns, "numeric")),
        **categorical.features(inputs, _of_kind(columns, "categorical")),
        **date.features(inputs, _of_kind(columns, "date")),
        **text.features(inputs, _of_kind(columns, "text")),
        **series.features(inputs, _of_kind(columns, "series")),
        **image.features(inputs, _of_kind(columns, "image")),
        **crosses.features(inputs, config.features.crosses),
        **label.features(inputs, config.label),
    }


def _of_kind(columns: Mapping[str, Feature], kind: str) -> dict[str, Any]:
    return {name: feature for name, feature in columns.items() if feature.kind == kind}
