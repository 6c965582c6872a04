"""Values out of a set, as integer ids: by vocabulary, by hash, or as they are.

In every encoding id 0 means "missing", which is not the same as "never seen". After it come

- vocabulary: the V values learned, most frequent first, then `oov_buckets` for others by hash;
- hash: `hash_buckets`;
- identity: the integers 0..max_values-1, then one id for integers outside.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
import tensorflow_transform as tft

from transform import ranges, raw, vocabulary
from transform.config import CategoricalFeature, feature_name


def features(
    inputs: Mapping[str, raw.RawColumn], columns: Mapping[str, CategoricalFeature]
) -> dict[str, tf.Tensor]:
    """`<column>_xf`, int64 `[N, 1]`, of every categorical column (see the table above)."""
    return {feature_name(name): _ids(inputs, name, feature) for name, feature in columns.items()}


def vocabulary_name(column: str) -> str:
    """Name of a column's vocabulary among the transform graph's assets."""
    return f"{column}_vocabulary"


def hash_ids(values: tf.Tensor, buckets: int) -> tf.Tensor:
    """Ids by hash: 0 for the empty string, else 1..buckets. FarmHash64, the same everywhere.

    Args:
        values: string, any shape.
        buckets: Number of hash buckets.

    Returns:
        int64, of the shape of `values`.
    """
    ids = tf.strings.to_hash_bucket_fast(values, buckets) + 1
    return tf.where(raw.is_missing(values), tf.zeros_like(ids), ids)


def identity_ids(values: tf.Tensor, max_values: int) -> tf.Tensor:
    """The integers shifted up by one: 0 for missing, `max_values + 1` for those outside."""
    inside = (values >= 0) & (values < max_values)
    ids = tf.where(inside, values + 1, tf.constant(max_values + 1, tf.int64))
    return tf.where(raw.is_missing(values), tf.zeros_like(ids), ids)


def _ids(inputs: Mapping[str, raw.RawColumn], name: str, feature: CategoricalFeature) -> tf.Tensor:
    if feature.encoding == "identity":
        ids = identity_ids(raw.column(inputs, name, tf.int64), feature.max_values)
        return ranges.ids_up_to(ids, feature.max_values + 1)
    values = raw.column(inputs, name, tf.string)
    if feature.encoding == "hash":
        ids = hash_ids(values, feature.hash_buckets)
        return ranges.ids_up_to(ids, feature.hash_buckets)
    return _vocabulary_ids(values, name, feature)


def _vocabulary_ids(values: tf.Tensor, name: str, feature: CategoricalFeature) -> tf.Tensor:
    # The empty string, our mark for "missing", never gets into a vocabulary.
    path = vocabulary.vocabulary(
        values,
        name=vocabulary_name(name),
        top_k=feature.max_values,
        min_count=feature.min_count,
    )
    found = tft.apply_vocabulary(values, path, num_oov_buckets=feature.oov_buckets)
    ids = tf.where(raw.is_missing(values), tf.zeros_like(found), found + 1)
    return ranges.ids_up_to(ids, ranges.highest_of(found) + 1)
