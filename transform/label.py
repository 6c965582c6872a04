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
    """`label_xf` `[N, 1]`: int64 class id, or float32 where the label is a number; of a multilabel
    int64 `[N, C]`, 1 for each class that the row has.

    A missing label, or a class that the config does not list, is `UNKNOWN` (-1); a missing number
    is NaN. Ingest refuses such rows, so in training they do not occur; a request without a label
    has them, and nothing that answers it reads them. A missing multilabel has none of the classes,
    which is a label like any other.

    Args:
        inputs: Raw columns; without the label's column there is no `label_xf`.
        label: What is predicted.

    Raises:
        DataError: The label's column has several values a row, and is no multilabel.
    """
    if label.column not in inputs:
        return {}
    if label.task == "multilabel":
        return {LABEL: memberships(inputs[label.column], label.classes, label.separator)}
    if label.is_value:
        return {LABEL: raw.column(inputs, label.column, tf.float32)}
    if label.above is None:
        return {LABEL: class_ids(raw.column(inputs, label.column, tf.string), label.classes)}
    value = raw.column(inputs, label.column, tf.float32)
    bound = tf.constant(label.above, tf.float32)
    if label.of is not None:
        bound *= raw.column(inputs, label.of, tf.float32)
    return {LABEL: is_above(value, bound)}


def memberships(values: raw.RawColumn, classes: Sequence[str], separator: str) -> tf.Tensor:
    """Which classes each row has: int64 `[N, C]` of 0 and 1.

    Args:
        values: Cells with any number of classes between separators, any number of them a row:
            dense `[N]` or `[N, k]`, sparse or ragged `[N, None]`.
        classes: The C names; others are ignored, and so are blanks around a name.
        separator: What stands between two names.
    """
    rows, cells, count = _cells(values)
    parts = tf.strings.split(raw.cast(cells, tf.string), separator)
    rows = tf.gather(rows, parts.value_rowids())
    ids = class_ids(tf.strings.strip(parts.values)[:, tf.newaxis], classes)[:, 0]
    known = ids != UNKNOWN
    places = tf.stack([tf.boolean_mask(rows, known), tf.boolean_mask(ids, known)], axis=1)
    shape = tf.stack([count, tf.constant(len(classes), tf.int64)])
    times = tf.scatter_nd(places, tf.ones_like(places[:, 0]), shape)
    return tf.ensure_shape(tf.minimum(times, 1), [None, len(classes)])


def _cells(values: raw.RawColumn) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The row of each cell, the cells, and the number of rows."""
    if isinstance(values, tf.RaggedTensor):
        values = values.to_sparse()
    if isinstance(values, tf.SparseTensor):
        return values.indices[:, 0], values.values, values.dense_shape[0]
    count = tf.shape(values, tf.int64)[0]
    a_row = tf.size(values, tf.int64) // tf.maximum(count, 1)
    return tf.repeat(tf.range(count), a_row), tf.reshape(values, [-1]), count


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
