"""A caller's rows, in whichever form, to the named arrays that a signature takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from serving.client.checks import as_declared, check_names
from serving.client.examples import Kinds, Row, encode_examples
from serving.client.model_types import Signature
from serving.client.operations import Arrays
from tfx_pipeline.errors import DataError

Rows = Sequence[Row] | Sequence[bytes] | Mapping[str, Any] | np.ndarray[Any, Any] | Any
"""Rows as dicts, a DataFrame, serialized tf.Examples, or arrays (one, or several by name)."""

_EXAMPLES = "examples"


def to_inputs(
    rows: Rows,
    signature: Signature | None,
    kinds: Kinds | None = None,
    missing_values: Collection[str] = (),
) -> Arrays:
    """The arrays of a request.

    A signature whose one input is a vector of strings takes rows as serialized tf.Examples; any
    other takes each column of the rows as the input of that name.

    Args:
        rows: Rows as dicts, a pandas DataFrame, serialized tf.Examples, an array for a signature
            with one input, or input name to array (or to nested lists).
        signature: What the model says it takes; None when that is not known: then rows become
            Examples in an input named `examples`, and nothing is checked.
        kinds: Column name to `int`, `float` or `bytes`, for rows that become Examples.
        missing_values: Texts that mean missing in columns of numbers, for rows that become
            Examples.

    Raises:
        DataError: Names, dtypes or shapes are not those of the signature, or a value has no place
            in a tf.Example.
    """
    named = _named(rows, signature, kinds, missing_values)
    if signature is None:
        return {name: _guessed(values) for name, values in named.items()}
    check_names(list(named), signature)
    return {name: as_declared(name, named[name], signature.inputs[name]) for name in sorted(named)}


def to_examples(
    rows: Any, kinds: Kinds | None = None, missing_values: Collection[str] = ()
) -> list[bytes]:
    """Serialized tf.Examples of rows as dicts, a DataFrame, or Examples already.

    Raises:
        DataError: The rows are something else, or a value has no place in a tf.Example.
    """
    if _is_frame(rows):
        rows, kinds = _frame_rows(rows), {**_frame_kinds(rows), **(kinds or {})}
    if isinstance(rows, np.ndarray):
        rows = rows.ravel().tolist()
    if all(isinstance(row, bytes) for row in rows) and not isinstance(rows, (bytes, Mapping)):
        return list(rows)
    if not _are_dicts(rows):
        raise DataError(
            f"{_described(rows)} cannot be sent as tf.Examples",
            hint="Give a list of dicts, a DataFrame, or serialized tf.Examples.",
        )
    return encode_examples(rows, kinds, missing_values)


def _named(
    rows: Rows, signature: Signature | None, kinds: Kinds | None, missing: Collection[str]
) -> dict[str, Any]:
    """Input name to values, not yet checked."""
    if isinstance(rows, Mapping):
        return dict(rows)
    if isinstance(rows, (bytes, str)):
        raise DataError(
            f"{_described(rows)} is no list of rows", hint="Give a list: predict(model, [row])."
        )
    examples_input = signature.examples_input if signature else _EXAMPLES
    if _is_frame(rows) or _are_dicts(rows):
        if examples_input and not _has_column(rows, examples_input):
            return {examples_input: _strings(to_examples(rows, kinds, missing))}
        return _columns(rows)
    if _are_bytes(rows) and examples_input:
        return {examples_input: _strings(rows)}
    return {_only_input(signature): rows}


def _only_input(signature: Signature | None) -> str:
    if signature is None:
        raise DataError(
            "the model's signature is not known, so an array needs its input's name",
            hint="Give a dict of input name to array.",
        )
    names = signature.required if len(signature.inputs) > 1 else list(signature.inputs)
    if len(names) != 1:
        raise DataError(
            f"one array for a signature of {len(names)} inputs",
            hint=f"Give a dict with an array for each of {', '.join(names)}.",
        )
    return names[0]


def _columns(rows: Any) -> dict[str, Any]:
    """Rows turned into columns: column name to a list of values."""
    if _is_frame(rows):
        return {str(name): rows[name].tolist() for name in rows.columns}
    names = list(dict.fromkeys(name for row in rows for name in row))
    for number, row in enumerate(rows, start=1):
        absent = [name for name in names if name not in row]
        if absent:
            raise DataError(
                f"the row has no {', '.join(absent)}",
                where=f"row {number}",
                hint="Give every row the same columns: tensors have no missing values.",
            )
    return {name: [row[name] for row in rows] for name in names}


def _is_frame(rows: object) -> bool:
    """Whether rows are a DataFrame: told by its methods, so that pandas is not imported here."""
    return hasattr(rows, "to_dict") and hasattr(rows, "columns")


def _frame_rows(frame: Any) -> list[dict[str, Any]]:
    columns = {
        str(name): frame[name].astype(object).where(frame[name].notna(), None).tolist()
        for name in frame.columns
    }
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _frame_kinds(frame: Any) -> dict[str, str]:
    kinds = {"b": "int", "i": "int", "u": "int", "f": "float"}
    found = {str(name): kinds.get(getattr(frame[name].dtype, "kind", "O")) for name in frame}
    return {name: kind for name, kind in found.items() if kind}


def _has_column(rows: Any, name: str) -> bool:
    return name in rows.columns if _is_frame(rows) else bool(rows) and name in rows[0]


def _are_dicts(rows: Any) -> bool:
    return isinstance(rows, Sequence) and all(isinstance(row, Mapping) for row in rows)


def _are_bytes(rows: Any) -> bool:
    return isinstance(rows, Sequence) and all(isinstance(row, bytes) for row in rows)


def _strings(values: Any) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _guessed(values: Any) -> np.ndarray[Any, Any]:
    """An array of what models usually take, where the signature is not known."""
    if isinstance(values, (np.ndarray, np.generic)):
        return np.asarray(values)
    if isinstance(values, bytes):  # numpy's own bytes type would drop trailing zeros
        return np.asarray(values, dtype=object)
    array = np.asarray(values)
    if array.dtype.kind in "SU":
        return np.asarray(values, dtype=object)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _described(rows: object) -> str:
    return f"a {type(rows).__name__}"
