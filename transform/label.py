"""The label, as `label_xf`: what the trainer learns and the evaluator measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from transform import raw
from transform.config import LABEL, LabelConfig

UNKNOWN = -1
_FEW = 64  # Up to here a value is compared with every class.
_HASHES = 2**62


def features(inputs: Mapping[str, raw.RawColumn], label: LabelConfig) -> dict[str, tf.Tensor]:
    """`label_xf` `[N, 1]`: int64 class id, or float32 for regression.

    A missing label, or a class that the config does not list, is `UNKNOWN` (-1); a missing
    regression label is NaN. Ingest refuses such rows, so in training they do not occur; a request
    without a label has them, and nothing that answers it reads them.

    Args:
        inputs: Raw columns; without the label's column there is no `label_xf`.
        label: What is predicted.

    Raises:
        DataError: The label's column has several values a row.
    """
    if label.column not in inputs:
        return {}
    if label.task == "regression":
        return {LABEL: raw.column(inputs, label.column, tf.float32)}
    if label.above is None:
        return {LABEL: class_ids(raw.column(inputs, label.column, tf.string), label.classes)}
    value = raw.column(inputs, label.column, tf.float32)
    bound = tf.constant(label.above, tf.float32)
    if label.of is not None:
        bound *= raw.column(inputs, label.of, tf.float32)
    return {LABEL: is_above(value, bound)}


def class_ids(values: tf.Tensor, classes: Sequence[str]) -> tf.Tensor:
    """Position of each value among `classes`, or -1: int64, string `[N, 1]` to `[N, 1]`."""
    if len(classes) > _FEW:
        return _ids_of_many(values, classes)
    matches = tf.equal(values, tf.constant(list(classes))[tf.newaxis, :])
    ids = tf.argmax(tf.cast(matches, tf.int32), axis=1)
    ids = tf.where(tf.reduce_any(matches, axis=1), ids, tf.constant(UNKNOWN, tf.int64))
    return ids[:, tf.newaxis]


def _ids_of_many(values: tf.Tensor, classes: Sequence[str]) -> tf.Tensor:
    """The same for a catalog of thousands: by hash among the sorted hashes, then compared."""
    with tf.init_scope():
        hashes = tf.strings.to_hash_bucket_fast(list(classes), _HASHES).numpy()
    order = hashes.argsort()
    wanted = tf.strings.to_hash_bucket_fast(values[:, 0], _HASHES)
    place = tf.searchsorted(tf.constant(hashes[order]), wanted)
    ids = tf.gather(tf.constant(order), tf.minimum(place, len(classes) - 1))
    found = tf.equal(tf.gather(tf.constant(list(classes)), ids), values[:, 0])
    return tf.where(found, ids, tf.constant(UNKNOWN, tf.int64))[:, tf.newaxis]


def is_above(values: tf.Tensor, bound: tf.Tensor) -> tf.Tensor:
    """1 where `values` > `bound`, 0 where not, -1 where either is NaN: int64."""
    ids = tf.cast(values > bound, tf.int64)
    unknown = tf.math.is_nan(values) | tf.math.is_nan(bound)
    return tf.where(unknown, tf.constant(UNKNOWN, tf.int64), ids)
