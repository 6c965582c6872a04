"""Combinations of categorical columns, as one hashed categorical feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from transform import ranges, raw
from transform.config import Cross, feature_name

# A separator that no value can fake: FarmHash of ("a", "b_c") must differ from ("a_b", "c").
_UNIT_SEPARATOR = "\x1f"


def features(inputs: Mapping[str, raw.RawColumn], crosses: Sequence[Cross]) -> dict[str, tf.Tensor]:
    """`<a>_x_<b>_xf`, int64 `[N, 1]`, ids 0..hash_buckets-1, of every cross.

    A missing value takes part as a value of its own, so ("", "b") and ("a", "") have ids too.
    """
    return {feature_name(cross.name): _ids(inputs, cross) for cross in crosses}


def _ids(inputs: Mapping[str, raw.RawColumn], cross: Cross) -> tf.Tensor:
    values = [raw.column(inputs, name, tf.string) for name in cross.columns]
    joined = tf.strings.join(values, separator=_UNIT_SEPARATOR)
    ids = tf.strings.to_hash_bucket_fast(joined, cross.hash_buckets)
    return ranges.ids_up_to(ids, cross.hash_buckets - 1)
