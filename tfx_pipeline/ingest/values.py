"""Types one column: any Arrow array -> a list array of float32, int64 or binary, with its faults.

The lists hold one value for a scalar column and none where the value is missing, which is how a
tf.Example states a missing value while keeping the feature's type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.text import category_text
from tfx_pipeline.ingest.faults import BadValues, bad_values
from tfx_pipeline.ingest.nulls import without
from tfx_pipeline.ingest.numbers import PLAIN, NumberForm, parse_numbers
from transform.config import StorageType, number_marks

if TYPE_CHECKING:
    import pyarrow as pa

_NAN_NAMES = ("nan", "NaN", "NAN")


def typed_lists(
    column: pa.Array, kind: StorageType, missing: Sequence[str], form: NumberForm = PLAIN
) -> tuple[pa.Array, list[BadValues]]:
    """Types a column.

    Args:
        column: Length N: numbers, text, dates, booleans, bytes, or lists of them.
        kind: The tf.Example kind wanted.
        missing: Texts that mean missing, besides the empty one.
        form: How text states numbers.

    Returns:
        Lists of float32 ("float"), int64 ("int") or large_binary ("bytes"), length N; and what is
        wrong, in which case the lists must not be used.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _plain(column)
    if _is_list(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        values, rows = _plain(pc.list_flatten(column)), np.repeat(np.arange(len(column)), lengths)
        scalars, faults = _typed(values, kind, [*missing, ""], form)
        faults = [fault.at(rows) for fault in faults]
        valid = pc.is_valid(scalars).to_numpy(zero_copy_only=False)
        counts = np.bincount(rows[valid], minlength=len(column))
    else:
        scalars, faults = _typed(column, kind, [*missing, ""], form)
        if not scalars.null_count:
            offsets = pa.array(np.arange(len(column) + 1, dtype=np.int64))
            return pa.LargeListArray.from_arrays(offsets, scalars), faults
        counts = pc.is_valid(scalars).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), scalars.drop_null()), faults


def _typed(
    values: pa.Array, kind: StorageType, missing: list[str], form: NumberForm
) -> tuple[pa.Array, list[BadValues]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    arrow_type = {"float": pa.float32(), "int": pa.int64(), "bytes": pa.large_binary()}[kind]
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), arrow_type), []
    if not _is_scalar(values.type):
        return pa.nulls(len(values), arrow_type), bad_values(
            values,
            pc.is_valid(values),
            f"is of type {values.type}, which no feature takes",
            "Turn the column into numbers or text, or leave it out of `features`.",
        )
    if kind == "bytes":
        return _as_bytes(values, missing), []
    if pa.types.is_temporal(values.type):
        return pa.nulls(len(values), arrow_type), bad_values(
            values, pc.is_valid(values), "is a date, not a number", "Give the column `kind: date`."
        )
    if _is_text(values.type):
        values = _as_text(values)
        numbers, faults = parse_numbers(values, missing, form, whole=kind == "int")
    else:
        numbers, faults = values, []
    if pa.types.is_boolean(numbers.type) or pa.types.is_decimal(numbers.type):
        numbers = numbers.cast(pa.int64() if pa.types.is_boolean(numbers.type) else pa.float64())
    if faults:
        return pa.nulls(len(values), arrow_type), faults
    return _narrow(values, _without_marks(numbers, missing), kind, missing)


def _narrow(
    values: pa.Array, numbers: pa.Array, kind: StorageType, missing: list[str]
) -> tuple[pa.Array, list[BadValues]]:
    """Numbers of any width -> float32 or int64, refusing NaN, infinity and fractions; it warns of
    whole numbers that a float32 rounds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "int" and pa.types.is_integer(numbers.type):
        try:
            return numbers.cast(pa.int64()), []
        except pa.ArrowInvalid:
            return pa.nulls(len(values), pa.int64()), bad_values(
                values,
                pc.greater(numbers, pa.scalar(2**63 - 1, numbers.type)),
                "does not fit into a signed 64-bit integer",
                "Store identifiers as text, or give the column `kind: numeric`.",
            )
    wide = numbers.cast(pa.float64(), safe=False)  # Above 2**53 a float32 is inexact anyway.
    nan = pc.is_nan(wide)
    if any(name in missing for name in _NAN_NAMES):
        wide = without(wide, nan)
        nan = pc.and_(nan, False)
    faults = bad_values(
        values,
        nan,
        "is not a number (NaN)",
        "If it means missing, add NaN to `data.missing_values`.",
    )
    narrow = wide.cast(pa.float32(), safe=False)
    faults += bad_values(
        values,
        pc.is_inf(narrow),
        "is infinite as a float32",
        "Replace infinite values in the data, or leave the field empty.",
    )
    if faults:
        return narrow, faults
    if kind == "float":
        return narrow, _rounded(values, wide, narrow)
    whole = pc.equal(pc.floor(wide), wide)
    inside = pc.less(pc.abs(wide), 2.0**63)
    faults = bad_values(
        values,
        pc.invert(pc.and_(whole, inside)),
        "is not a whole number",
        "This kind of column is stored as an integer; use `kind: numeric` for fractions.",
    )
    return (pa.nulls(len(wide), pa.int64()) if faults else wide.cast(pa.int64())), faults


def _rounded(values: pa.Array, wide: pa.Array, narrow: pa.Array) -> list[BadValues]:
    """Whole numbers, such as ids, that are others as float32."""
    import pyarrow as pa
    import pyarrow.compute as pc

    extent = pc.min_max(wide).as_py()
    if max(abs(extent["min"] or 0.0), abs(extent["max"] or 0.0)) <= 2.0**24:
        return []
    is_whole = pc.equal(pc.floor(wide), wide)
    is_other = pc.and_(is_whole, pc.not_equal(narrow.cast(pa.float64()), wide))
    hint = "Ids are categories: give the column `kind: categorical`. As a number it is rounded."
    problem = "is a whole number that a float32 rounds"
    return bad_values(values, is_other, problem, hint, only_warns=True)


def _as_bytes(values: pa.Array, missing: list[str]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_temporal(values.type):
        values = _iso(values)
    elif pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        values = _number_text(values)
    elif not _is_text(values.type):
        values = values.cast(pa.string())  # Arrow's integers and truth values are ours already.
    binary = values.cast(pa.large_binary())
    if set(missing) <= {""}:
        is_empty = pc.equal(pc.binary_length(binary), 0)
        return without(binary, is_empty) if pc.any(is_empty).as_py() else binary
    markers = pa.array([text.encode() for text in missing], pa.large_binary())
    return without(binary, pc.is_in(binary, markers))


def _number_text(values: pa.Array) -> pa.Array:
    """Floats and decimals as a request would state them; NaN is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_float = pa.types.is_floating(values.type)
    if pa.types.is_float16(values.type):
        values = values.cast(pa.float32())  # Arrow cannot tell float16 values apart.
    if is_float:
        values = without(values, pc.is_nan(values))
    encoded = values.dictionary_encode()
    # By way of numpy, floats keep their width: 0.1 as float32 is not 0.10000000149011612.
    distinct = encoded.dictionary.to_numpy() if is_float else encoded.dictionary.to_pylist()
    texts = pa.array([category_text(value) for value in distinct], pa.string())
    return texts.take(encoded.indices)


def _without_marks(values: pa.Array, missing: list[str]) -> pa.Array:
    """Numbers without those that mean missing: -999, where `missing` has "-999"."""
    import pyarrow as pa
    import pyarrow.compute as pc

    marks = number_marks(missing)
    if not marks:
        return values
    wide = values.cast(pa.float64(), safe=False)
    return without(values, pc.is_in(wide, pa.array(marks, pa.float64())))


def _iso(values: pa.Array) -> pa.Array:
    """Dates and times as ISO 8601 text, in UTC, to the second."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_date(values.type):
        return pc.strftime(values, format="%Y-%m-%d")
    if pa.types.is_timestamp(values.type):
        utc = values.cast(pa.timestamp("s", values.type.tz), safe=False)
        return pc.strftime(utc.cast(pa.timestamp("s")), format="%Y-%m-%dT%H:%M:%S")
    return values.cast(pa.string())


def _plain(values: pa.Array) -> pa.Array:
    """The values themselves, where an array wraps them in a dictionary or an extension type."""
    import pyarrow as pa

    while isinstance(values, (pa.DictionaryArray, pa.ExtensionArray)):
        is_coded = isinstance(values, pa.DictionaryArray)
        values = values.dictionary_decode() if is_coded else values.storage
    return values


def _is_list(data_type: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    return any(
        check(data_type) for check in (types.is_list, types.is_large_list, types.is_fixed_size_list)
    )


def _is_scalar(data_type: pa.DataType) -> bool:
    """Whether a feature can be made of such values. Durations have no unit a request knows."""
    import pyarrow as pa

    types = pa.types
    checks: tuple[Callable[[Any], bool], ...] = (
        _is_text,
        types.is_boolean,
        types.is_integer,
        types.is_floating,
        types.is_decimal,
        types.is_date,
        types.is_time,
        types.is_timestamp,
    )
    return any(check(data_type) for check in checks)


def _is_text(data_type: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    checks: tuple[Callable[[Any], bool], ...] = (
        types.is_string,
        types.is_large_string,
        types.is_binary,
        types.is_large_binary,
        types.is_fixed_size_binary,
    )
    return any(check(data_type) for check in checks)


def _as_text(values: pa.Array) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return values
    try:
        return values.cast(pa.large_string())
    except pa.ArrowInvalid:  # Bytes that are no UTF-8: shown as they are, and no number.
        return pa.array([_show(value) for value in values.to_pylist()], pa.large_string())


def _show(value: object) -> str | None:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else None
