"""Rows of plain Python values to serialized tf.Examples, without TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from serving.client.messages import Example
from serving.text import category_text
from tfx_pipeline.errors import DataError

Row = Mapping[str, Any]
Kinds = Mapping[str, str]

_LISTS = {"int": "int64_list", "float": "float_list", "bytes": "bytes_list"}


def encode_examples(
    rows: Iterable[Row], kinds: Kinds | None = None, missing_values: Collection[str] = ()
) -> list[bytes]:
    """Encodes each row as a serialized `tf.Example`.

    A value of None, NaN or "" is missing: its feature is left out. Lists, tuples and arrays
    become features of several values.

    Args:
        rows: Column name to value.
        kinds: Column name to `int`, `float` or `bytes`; the values of a named column are cast.
            A model that parses a feature as float refuses an integer, so name what you know.
            A number sent as `bytes` is a category: 3.0 and 3 are the word "3" (`serving.text`).
            Other columns follow the value's Python type: bool and int become `int64_list`, float
            `float_list`, str and bytes `bytes_list`.
        missing_values: Texts that mean missing, from the model's `assay_signature.json`
            (`ModelInfo.missing_values`). In columns of numbers they are left out; in others they
            are sent, for the model itself knows them.

    Raises:
        DataError: A value cannot be what its column's kind says, or has no place in a tf.Example.
    """
    kinds = kinds or {}
    for column, kind in kinds.items():
        if kind not in _LISTS:
            raise DataError(
                f"{kind!r} is no kind", where=f"column {column}", hint="Use int, float or bytes."
            )
    marks = frozenset(missing_values)
    return [_encode(row, kinds, marks, number) for number, row in enumerate(rows, start=1)]


def is_missing(value: object) -> bool:
    """Whether a value stands for a missing one: None, NaN, or an empty text."""
    if value is None:
        return True
    if isinstance(value, (str, bytes)):
        return len(value) == 0
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def _encode(row: Row, kinds: Kinds, marks: frozenset[str], number: int) -> bytes:
    example = Example()
    features = example.features.feature
    for column, value in row.items():
        many = isinstance(value, (list, tuple, np.ndarray))
        values = [item for item in (value if many else [value]) if not is_missing(item)]
        if not values:
            continue
        try:
            kind = kinds.get(column) or _kind(values)
            if marks and kind != "bytes":
                values = [item for item in values if not _is_mark(item, marks)]
            sent = [item for item in map(_CASTS[kind], values) if not is_missing(item)]
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"{value!r} cannot be sent: {error}",
                where=f"row {number}, column {column}",
                hint="Mend the value, or set the column's kind (int, float or bytes).",
            ) from error
        if sent:  # a text "nan" only shows itself as missing once it is a float
            getattr(features[column], _LISTS[kind]).value.extend(sent)
    return bytes(example.SerializeToString())


def _is_mark(value: object, marks: frozenset[str]) -> bool:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return isinstance(value, str) and value.strip() in marks


def _kind(values: list[Any]) -> str:
    if all(isinstance(value, (bool, np.bool_, int, np.integer)) for value in values):
        return "int"
    if all(isinstance(value, (bool, int, float, np.number)) for value in values):
        return "float"
    return "bytes"


def _to_float(value: Any) -> float:
    if isinstance(value, str) and "_" in value:  # Python reads 1_000; in training it is no number.
        raise ValueError("it is not a number")
    return float(value)


def _to_int(value: Any) -> int:
    if isinstance(value, str) and "_" in value:
        raise ValueError("it is not a whole number")
    if isinstance(value, (float, np.floating)) or (isinstance(value, str) and "." in value):
        # "3.0", as a CSV writer that knows only floats has it
        if not float(value).is_integer():
            raise ValueError("it is not a whole number")
        value = float(value)
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError("it does not fit into 64 bits")
    return number


def _to_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bool, int, float, Decimal, np.bool_, np.number)):
        return category_text(value).encode()
    raise TypeError(f"a {type(value).__name__} has no place in a tf.Example")


_CASTS: dict[str, Any] = {"int": _to_int, "float": _to_float, "bytes": _to_bytes}
