"""One dense view of a raw column, whatever TFX parsed it into, with one mark for "missing" a dtype.

A schema inferred with feature shapes makes a column that is always present dense, and one with gaps
sparse. The kinds below should not care, and a column that was always present in training may well
be absent from a request. So every column becomes `[N, 1]` with a mark where there is no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import tensorflow as tf

from tfx_pipeline.errors import DataError

MISSING_INT = tf.int64.min
RawColumn: TypeAlias = tf.Tensor | tf.SparseTensor | tf.RaggedTensor


def column(inputs: Mapping[str, RawColumn], name: str, dtype: tf.DType) -> tf.Tensor:
    """A raw column with at most one value a row, dense.

    Args:
        inputs: Raw columns by name: dense `[N]` or `[N, 1]`, sparse or ragged `[N, None]`.
        name: The column.
        dtype: float32, int64 or string. Numbers are cast; text is read as a number where a number
            is asked for (unreadable text is missing), and a number is written out as text.

    Returns:
        `[N, 1]` of `dtype`. A missing value is NaN (float32; infinities count as missing too),
        `MISSING_INT` (int64) or the empty string.

    Raises:
        DataError: The column is absent or is declared with several values a row. A row that has
            several in a column of varying length fails when the graph runs, naming the column.
    """
    if name not in inputs:
        raise DataError(
            f"the data have no column {name!r}, which `features` or `label` names",
            hint="Correct the name in pipeline.yaml; these exist: " + ", ".join(sorted(inputs)),
        )
    return cast(single(inputs[name], name), dtype)


def single(values: RawColumn, name: str) -> tf.Tensor:
    """`values` as `[N, 1]` in their own dtype, with the dtype's mark where a row has none."""
    if isinstance(values, tf.RaggedTensor):
        values = values.to_sparse()
    if isinstance(values, tf.SparseTensor):
        return _densify(values, name)
    if values.shape.rank == 1:
        return values[:, tf.newaxis]
    if values.shape.rank != 2 or values.shape[1] != 1:
        raise DataError(
            f"column {name!r} has {values.shape[1:]} values a row; a feature takes one",
            hint="Split it into one column a value, or write your own features.preprocessing_fn.",
        )
    return values


def missing_mark(dtype: tf.DType) -> float | int | str:
    """What stands for "no value" in a dense column of `dtype` (float32, int64 or string)."""
    return {tf.float32: float("nan"), tf.int64: MISSING_INT, tf.string: ""}[dtype]


def is_missing(values: tf.Tensor) -> tf.Tensor:
    """Where a tensor made by `column` has no value: bool, of its shape."""
    if values.dtype == tf.float32:
        return tf.math.is_nan(values)
    return tf.equal(values, missing_mark(values.dtype))


def cast(values: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """`values` in `dtype`; missing stays missing."""
    if values.dtype != dtype:
        missing = is_missing(values)
        values = tf.where(missing, missing_mark(dtype), _convert(values, dtype))
    if dtype == tf.float32:
        values = tf.where(tf.math.is_finite(values), values, float("nan"))
    return values


def _convert(values: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    if dtype == tf.string:
        return tf.strings.as_string(values)
    if values.dtype == tf.string:
        # to_number raises on unreadable text, which would stop a whole batch for one bad row.
        readable = tf.strings.regex_full_match(
            values, r"\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?\s*"
        )
        number = tf.strings.to_number(tf.where(readable, tf.strings.strip(values), "nan"))
        values = tf.where(readable, number, float("nan"))
        if dtype == tf.int64:
            return tf.where(
                tf.math.is_finite(values), tf.cast(tf.math.rint(values), dtype), MISSING_INT
            )
    return tf.cast(values, dtype)


def _densify(values: tf.SparseTensor, name: str) -> tf.Tensor:
    message = f"column {name!r} has several values in a row; a feature takes one. Longest row:"
    longest = values.dense_shape[1]
    # An explicit dependency, because TFT prunes the graph to what its outputs are made of.
    with tf.control_dependencies([tf.debugging.Assert(longest <= 1, [message, longest])]):
        shape = tf.stack([values.dense_shape[0], tf.constant(1, tf.int64)])
    mark = missing_mark(values.dtype)
    dense = tf.sparse.to_dense(tf.SparseTensor(values.indices, values.values, shape), mark)
    return tf.ensure_shape(dense, [None, 1])
