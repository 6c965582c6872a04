"""Windows of measurements, written as numbers in one cell, to scaled tensors."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
import tensorflow_transform as tft

from transform import numeric, raw
from transform.config import SeriesFeature, feature_name

# Between two numbers stands one comma or semicolon, or spaces: "1,,2" has a gap in its middle.
SEPARATOR = r"\s*[,;]\s*|\s+"
_MARK = "\x1f"


def features(
    inputs: Mapping[str, raw.RawColumn], columns: Mapping[str, SeriesFeature]
) -> dict[str, tf.Tensor]:
    """`<column>_series_xf`, float32 `[N, length, channels]`, of every column of series.

    Each channel has mean 0 and variance 1 over the training rows and steps. A number that is
    missing, unreadable or infinite, the steps that a short cell lacks, and every step of a missing
    cell are 0, the mean.
    """
    return {
        feature_name(name, "series"): _scaled(
            numbers(raw.column(inputs, name, tf.string)[:, 0], feature.length, feature.channels)
        )
        for name, feature in columns.items()
    }


def numbers(cells: tf.Tensor, length: int, channels: int) -> tf.Tensor:
    """The numbers of each cell.

    Args:
        cells: string `[N]`: numbers between spaces, commas or semicolons, channels interleaved.
        length: Steps that are kept, from the start.
        channels: Numbers a step.

    Returns:
        float32 `[N, length, channels]`; NaN where there is none.
    """
    marked = tf.strings.regex_replace(tf.strings.strip(cells), SEPARATOR, _MARK)
    texts = tf.strings.split(marked, _MARK)
    values = texts.with_flat_values(raw.cast(texts.flat_values, tf.float32))
    wide = values.to_tensor(float("nan"), shape=[None, length * channels])
    return tf.reshape(wide, [-1, length, channels])


def _scaled(values: tf.Tensor) -> tf.Tensor:
    """z-scores of `[N, length, channels]` by channel; 0 where there is NaN, which TFT ignores."""
    steps = tf.reshape(values, [-1, values.shape[-1]])
    mean = tft.mean(steps, reduce_instance_dims=False)
    mean = tf.where(tf.math.is_finite(mean), mean, 0.0)
    return numeric.zscore(values, mean, tft.var(steps, reduce_instance_dims=False))
