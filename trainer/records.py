"""Transformed examples on disk: TFRecord files, and the rows in them parsed by the thousand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfx_pipeline.errors import ConfigError
from transform.config import LABEL, TransformConfig
from transform.layout import FeatureSpec, model_inputs

if TYPE_CHECKING:
    import tensorflow as tf


def records(files: Sequence[str]) -> tf.data.Dataset:
    """The serialized rows of all files, in order."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(list(files)).flat_map(records_of)


def records_of(file: tf.Tensor) -> tf.data.Dataset:
    """The serialized rows of one file; `.gz` is gzipped."""
    import tensorflow as tf

    gzipped = tf.strings.regex_full_match(file, r".*\.gz")
    return tf.data.TFRecordDataset(file, compression_type=tf.where(gzipped, "GZIP", ""))


def needed(layout: Sequence[FeatureSpec], spec: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `spec` that the model reads: parsing the rest would cost time."""
    names = [LABEL, *(s.name for s in layout), *(s.weights for s in layout if s.weights)]
    return {name: spec[name] for name in names}


def parser(
    layout: Sequence[FeatureSpec], spec: Mapping[str, Any]
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """From serialized rows [n] to model inputs and the label [n, `label_width`] by name."""
    import tensorflow as tf

    width = label_width(spec)

    def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(serialized, dict(spec))
        return model_inputs(parsed, layout) | {LABEL: tf.reshape(parsed[LABEL], [-1, width])}

    return parse


def label_width(spec: Mapping[str, Any]) -> int:
    """Values of a row's label: one, or one for each class of a multilabel."""
    return math.prod(getattr(spec[LABEL], "shape", None) or [1])


def check_label_width(spec: Mapping[str, Any], transform: TransformConfig) -> None:
    """Refuses a label that a user's preprocessing_fn made otherwise than the task has it.

    Raises:
        ConfigError: It has another number of values a row.
    """
    label, found = transform.label, label_width(spec)
    if found != label.width:
        raise ConfigError(
            f"the transformed label has {found} values a row, and a {label.task} label "
            f"{label.width}",
            where=f"features.preprocessing_fn {transform.features.preprocessing_fn}",
            hint="Return `label_xf` as transform.label.features makes it.",
        )


def pop_label(parsed: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Splits what `parser` gives into features and label."""
    features = {name: value for name, value in parsed.items() if name != LABEL}
    return features, parsed[LABEL]
