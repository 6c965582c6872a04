"""Numbers: log, z-score, min-max, quantile buckets, and a mark for missing values.

All numeric columns go through the analyzers side by side, as one `[N, K]` tensor: TFT builds (and
runs) a chain of Beam stages for every analyzer, so one over K columns costs what one over one does.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
import tensorflow_transform as tft

from transform import raw
from transform.config import NumericFeature, feature_name

_QUANTILE_ERROR = 0.001
# A constant column's variance comes out as rounding noise, not as 0: float32 has 24 bits.
_CONSTANT = 1e-6


def features(
    inputs: Mapping[str, raw.RawColumn], columns: Mapping[str, NumericFeature]
) -> dict[str, tf.Tensor]:
    """The features of all numeric columns.

    A missing, NaN or infinite value is imputed with the mean of the present ones (after `log`),
    so it is 0 after `zscore`. In buckets it is in none: a row of zeros. A constant column is 0
    under every scaling but `none`.

    Args:
        inputs: Raw columns.
        columns: The numeric ones among them.

    Returns:
        float32: `<column>_xf` `[N, 1]`, or `[N, buckets]` one-hot; `<column>_missing_xf` `[N, 1]`.
    """
    if not columns:
        return {}
    values = {
        name: _log(raw.column(inputs, name, tf.float32), feature.log)
        for name, feature in columns.items()
    }
    outputs = _bucketized(values, {k: v for k, v in columns.items() if v.buckets})
    outputs |= _scaled(values, {k: v for k, v in columns.items() if not v.buckets})
    for name, feature in columns.items():
        if feature.missing_indicator:
            missing = raw.is_missing(values[name])
            outputs[feature_name(name, "missing")] = tf.cast(missing, tf.float32)
    return outputs


def signed_log(values: tf.Tensor) -> tf.Tensor:
    """`sign(x) * log(1 + |x|)`: a logarithm that takes 0 and negative numbers."""
    return tf.sign(values) * tf.math.log1p(tf.abs(values))


def zscore(values: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
    """`(x - mean) / sqrt(variance)`; 0 where the column is constant or the value is missing."""
    deviation = tf.sqrt(tf.maximum(variance, 0.0))
    varies = deviation > _CONSTANT * tf.abs(mean)
    scaled = tf.math.divide_no_nan(values - mean, tf.where(varies, deviation, 0.0))
    return tf.where(tf.math.is_finite(scaled), scaled, 0.0)


def minmax(values: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """`(x - low) / (high - low)`, clipped to [0, 1] for values outside of what was analyzed."""
    scaled = tf.math.divide_no_nan(values - low, high - low)
    return tf.where(tf.math.is_finite(scaled), tf.clip_by_value(scaled, 0.0, 1.0), 0.0)


def bucket_one_hot(values: tf.Tensor, boundaries: tf.Tensor) -> tf.Tensor:
    """One-hot of the interval each value lies in; zeros where it is missing.

    Args:
        values: float32 `[N, 1]`.
        boundaries: float32 `[buckets - 1]`, ascending; a value equal to one is above it.

    Returns:
        float32 `[N, buckets]`.
    """
    width = boundaries.shape[0] + 1
    bucket = tf.reduce_sum(tf.cast(values >= boundaries, tf.int32), axis=1)
    one_hot = tf.one_hot(bucket, width)
    return tf.where(tf.math.is_nan(values), tf.zeros_like(one_hot), one_hot)


def _log(values: tf.Tensor, wanted: bool) -> tf.Tensor:
    return signed_log(values) if wanted else values


def _scaled(
    values: Mapping[str, tf.Tensor], columns: Mapping[str, NumericFeature]
) -> dict[str, tf.Tensor]:
    """`<column>_xf` `[N, 1]` of the columns that are not cut into buckets."""
    if not columns:
        return {}
    stacked = tf.concat([values[name] for name in columns], axis=1)
    # TFT ignores what is not finite, which is what `raw.column` makes of a missing value.
    mean = tft.mean(stacked, reduce_instance_dims=False)
    mean = tf.where(tf.math.is_finite(mean), mean, 0.0)
    stacked = tf.where(tf.math.is_nan(stacked), mean, stacked)
    scales = [feature.scale for feature in columns.values()]
    results = {"none": stacked}
    if "zscore" in scales:
        source = tf.concat([values[name] for name in columns], axis=1)
        variance = tft.var(source, reduce_instance_dims=False)
        results["zscore"] = zscore(stacked, mean, variance)
    if "minmax" in scales:
        low, high = _range(values, columns)
        results["minmax"] = minmax(stacked, low, high)
    return {
        feature_name(name): results[feature.scale][:, i : i + 1]
        for i, (name, feature) in enumerate(columns.items())
    }


def _range(
    values: Mapping[str, tf.Tensor], columns: Mapping[str, NumericFeature]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Smallest and largest present value of each column, `[K]` each; 0 where there is none."""
    source = tf.concat([values[name] for name in columns], axis=1)
    missing = tf.math.is_nan(source)
    low = tft.min(tf.where(missing, source.dtype.max, source), reduce_instance_dims=False)
    high = tft.max(tf.where(missing, source.dtype.min, source), reduce_instance_dims=False)
    empty = low > high
    return tf.where(empty, 0.0, low), tf.where(empty, 0.0, high)


def _bucketized(
    values: Mapping[str, tf.Tensor], columns: Mapping[str, NumericFeature]
) -> dict[str, tf.Tensor]:
    """`<column>_xf` `[N, buckets]`; columns with equally many buckets share one analyzer."""
    outputs = {}
    for buckets in sorted({feature.buckets for feature in columns.values()}):
        names = [name for name, feature in columns.items() if feature.buckets == buckets]
        stacked = tf.concat([values[name] for name in names], axis=1)
        if buckets == 1:
            boundaries = tf.zeros([len(names), 0])
        else:
            boundaries = tft.quantiles(
                stacked, buckets, _QUANTILE_ERROR, reduce_instance_dims=False
            )
        boundaries = tf.ensure_shape(boundaries, [len(names), buckets - 1])
        for i, name in enumerate(names):
            outputs[feature_name(name)] = bucket_one_hot(values[name], boundaries[i])
    return outputs
