"""Serialized tf.Examples to the raw columns that the transform graph takes, any of them absent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from transform import raw

if TYPE_CHECKING:
    import tensorflow_transform as tft


def parse(serialized: tf.Tensor, tft_output: tft.TFTransformOutput) -> dict[str, raw.RawColumn]:
    """Parses requests; a column that a request leaves out is missing, as a gap in training is.

    A schema with feature shapes makes a column that was always present in training required, and
    parsing a request without it (or without the label, which no request has) would fail. Here such
    a column gets its dtype's mark for "missing", which every kind of feature understands, and a
    label without a value becomes `label.UNKNOWN`.

    Args:
        serialized: string `[N]`: tf.Examples.
        tft_output: The transform graph.

    Returns:
        Raw columns for `tft_output.transform_features_layer()`.
    """
    return tf.io.parse_example(serialized, request_spec(tft_output))


def request_spec(tft_output: tft.TFTransformOutput) -> dict[str, tf.io.FixedLenFeature]:
    """The raw feature spec with a default for every dense column of one value."""
    return {
        name: _optional(spec) if isinstance(spec, tf.io.FixedLenFeature) else spec
        for name, spec in tft_output.raw_feature_spec().items()
    }


def _optional(spec: tf.io.FixedLenFeature) -> tf.io.FixedLenFeature:
    if list(spec.shape) not in ([], [1]):
        return spec
    mark = raw.missing_mark(spec.dtype)
    return tf.io.FixedLenFeature(spec.shape, spec.dtype, [mark] if spec.shape else mark)
