"""One dense view of a raw column, whatever TFX parsed it into, with one mark for "missing" a dtype.

A schema inferred with feature shapes makes a column that is always present dense, and one with gaps
sparse. The kinds below should not care, and a column that was always present in training may well
be absent from a request. So every column becomes `[N, 1]` with a mark where there is no value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import tensorflow as tf

from tfx_pipeline.errors import DataError
from transform.config import number_marks

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


def without_marks(inputs: Mapping[str, RawColumn], marks: Sequence[str]) -> dict[str, RawColumn]:
    """The raw columns, missing where they hold a text, or a number, that means missing.

    Args:
        inputs: Raw columns by name.
        marks: The texts, as in `data.missing_values`.
    """
    if not marks:
        return dict(inputs)
    numbers = number_marks(marks)
    return {name: _map_values(values, marks, numbers) for name, values in inputs.items()}


def _map_values(values: RawColumn, marks: Sequence[str], numbers: Sequence[float]) -> RawColumn:
    if isinstance(values, tf.SparseTensor):
        return values.with_values(_map_values(values.values, marks, numbers))
    if isinstance(values, tf.RaggedTensor):
        return values.with_flat_values(_map_values(values.flat_values, marks, numbers))
    for mark in marks if values.dtype == tf.string else numbers:
        if values.dtype == tf.int64 and mark != int(mark):
            continue
        is_mark = tf.equal(values, tf.cast(mark, values.dtype))
        values = tf.where(is_mark, missing_mark(values.dtype), values)
    return values


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
        return _parse_integers(values) if dtype == tf.int64 else _parse_floats(values, dtype)
    return tf.cast(values, dtype)


def _parse_floats(texts: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Numbers in `dtype` (float32 or float64), NaN where the text is none."""
    # to_number raises on unreadable text, which would stop a whole batch for one bad row.
    readable = tf.strings.regex_full_match(
        texts, r"\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?\s*"
    )
    return tf.strings.to_number(tf.where(readable, tf.strings.strip(texts), "nan"), dtype)


def _parse_integers(texts: tf.Tensor) -> tf.Tensor:
    """int64: exact up to 18 digits, else the float64 rounded; `MISSING_INT` where there is none."""
    digits = tf.strings.regex_full_match(texts, r"\s*[-+]?\d{1,18}\s*")
    unsigned = tf.strings.regex_replace(tf.strings.strip(texts), r"^\+", "")
    exact = tf.strings.to_number(tf.where(digits, unsigned, "0"), tf.int64)
    wide = tf.math.rint(_parse_floats(texts, tf.float64))
    inside = tf.abs(wide) < 2.0**63  # False for NaN
    rounded = tf.cast(tf.where(inside, wide, tf.zeros_like(wide)), tf.int64)
    return tf.where(digits, exact, tf.where(inside, rounded, MISSING_INT))


def _densify(values: tf.SparseTensor, name: str) -> tf.Tensor:
    message = f"column {name!r} has several values in a row; a feature takes one. Longest row:"
    longest = values.dense_shape[1]
    # An explicit dependency, because TFT prunes the graph to what its outputs are made of.
    with tf.control_dependencies([tf.debugging.Assert(longest <= 1, [message, longest])]):
        shape = tf.stack([values.dense_shape[0], tf.constant(1, tf.int64)])
    mark = missing_mark(values.dtype)
    dense = tf.sparse.to_dense(tf.SparseTensor(values.indices, values.values, shape), mark)
    return tf.ensure_shape(dense, [None, 1])
