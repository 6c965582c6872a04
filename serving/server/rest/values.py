"""One JSON value to one tensor: fast where it is well formed, and otherwise why it is not.

`tensor` checks and converts whole lists at a time. What it cannot convert, `fault` walks value by
value, in the order and with the messages of FillTensorProto in json_tensor.cc.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from serving.server.rest.parsing import string_bytes, type_text, value_text
from serving.server.status import Code, RequestError, invalid_argument
from serving.tensors import DTYPE_NAMES

MAX_RANK = 64
"""Dimensions that numpy holds."""

_STRING, _BOOL = 7, 10
_INT32_RANGE = (-(2**31), 2**31 - 1)
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
# DataType to numpy type, and which integers it takes. Types narrower than int32 wrap, as the
# int_val of a TensorProto does.
_INTEGERS: dict[int, tuple[Any, tuple[int, int]]] = {
    3: (np.int32, _INT32_RANGE),
    4: (np.uint8, _INT32_RANGE),
    5: (np.int16, _INT32_RANGE),
    6: (np.int8, _INT32_RANGE),
    9: (np.int64, (_INT64_MIN, 2**63 - 1)),
    17: (np.uint16, _INT32_RANGE),
    22: (np.uint32, (0, 2**32 - 1)),
    23: (np.uint64, (0, _UINT64_MAX)),
}
# DataType to numpy type, the type's name in a message, and the largest whole number below which it
# has all of them.
_FLOATS: dict[int, tuple[Any, str, int]] = {
    1: (np.float32, "float", 2**24 - 1),
    2: (np.float64, "double", 2**53 - 1),
    19: (np.float16, "half", 2**11 - 1),
}


_Convert: TypeAlias = "Callable[[list[Any]], np.ndarray[Any, Any] | None]"


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape that a JSON value claims: the length of its first list, of that one's first, ..."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def tensor(value: Any, dtype: int) -> np.ndarray[Any, Any] | None:
    """Converts a JSON value (a scalar, or lists nested to any depth).

    Args:
        value: As `json.loads` gives it.
        dtype: The DataType that the model's signature states.

    Returns:
        The array, strings as objects of bytes; None if the value is no tensor of that type, and
        `fault` says why.
    """
    shape = shape_of(value)
    if len(shape) > MAX_RANK:
        return None
    items = [value]
    for size in shape:
        if set(map(type, items)) != {list} or set(map(len, items)) != {size}:
            return None
        items = list(chain.from_iterable(items))
    convert = _converter(dtype)
    flat = convert(items) if convert else None
    return None if flat is None else flat.reshape(shape)


def fault(value: Any, dtype: int) -> RequestError | None:
    """Why a JSON value is no tensor of a type; None if it is one."""
    shape = shape_of(value)
    if len(shape) > MAX_RANK:
        return invalid_argument(f"{len(shape)} dimensions are more than {MAX_RANK}")
    found = _fault(value, 0, shape, dtype)
    if found is None and _converter(dtype) is None:  # a list without a value
        return _unimplemented(value, dtype)
    return found


def _fault(value: Any, level: int, shape: tuple[int, ...], dtype: int) -> RequestError | None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            return invalid_argument(
                f"JSON Value: {value_text(value)} found at incorrect level: {level + 1} in the "
                f"JSON DOM. Expected at level: {rank}"
            )
        return _leaf_fault(value, dtype)
    if level >= rank:
        return invalid_argument(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        return invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
            f"{shape[level]}"
        )
    convert = _converter(dtype)
    if level == rank - 1 and convert:
        if convert(value) is not None:
            return None
        value = [_first_bad(value, convert)]
    for item in value:
        found = _fault(item, level + 1, shape, dtype)
        if found:
            return found
    return None


def _first_bad(items: list[Any], convert: _Convert) -> Any:
    """The first of several that cannot be converted together, found by halving."""
    while len(items) > 1:
        half = len(items) // 2
        items = items[:half] if convert(items[:half]) is None else items[half:]
    return items[0]


def _leaf_fault(value: Any, dtype: int) -> RequestError | None:
    if dtype == _STRING and isinstance(value, str | dict):
        try:
            string_bytes(value)
        except RequestError as error:
            return error
        return None
    convert = _converter(dtype)
    if convert is None and not isinstance(value, dict):
        return _unimplemented(value, dtype)
    if convert is not None and convert([value]) is not None:
        return None
    if dtype in _FLOATS and type(value) in (int, float):
        return lossy(value, _FLOATS[dtype][1])
    return invalid_argument(
        f"JSON Value: {value_text(value)} Type: {type_text(value)} is not of expected type: "
        f"{_name(dtype)}"
    )


def _unimplemented(value: Any, dtype: int) -> RequestError:
    return RequestError(
        Code.UNIMPLEMENTED,
        f"Conversion of JSON Value: {value_text(value)} to type: {_name(dtype)}",
    )


def lossy(value: float, target: str) -> RequestError:
    """The status for a number that the target type cannot hold."""
    return invalid_argument(
        f"Cannot convert JSON value: {value_text(value)} to {target} without loss of precision."
    )


def _converter(dtype: int) -> _Convert | None:
    if dtype in _FLOATS:
        return lambda items: _floats(items, dtype)
    if dtype in _INTEGERS:
        return lambda items: _integers(items, dtype)
    return {_STRING: _strings, _BOOL: _booleans}.get(dtype)


def _floats(items: list[Any], dtype: int) -> np.ndarray[Any, Any] | None:
    target, _, exact = _FLOATS[dtype]
    types = set(map(type, items))
    if not types <= {int, float}:
        return None
    try:
        wide = np.array(items, np.float64)
    except OverflowError:
        return None
    if int in types and (np.abs(wide) > exact).any():
        for item in items:
            # An integer past 64 bits is a double to RapidJSON.
            if type(item) is int and _INT64_MIN <= item <= _UINT64_MAX and abs(item) > exact:
                return None
    if (np.isfinite(wide) & (np.abs(wide) > np.finfo(target).max)).any():
        return None
    return wide.astype(target)


def _integers(items: list[Any], dtype: int) -> np.ndarray[Any, Any] | None:
    target, (low, high) = _INTEGERS[dtype]
    if not items:
        return np.zeros(0, target)
    if set(map(type, items)) != {int} or min(items) < low or max(items) > high:
        return None
    return np.array(items, np.uint64 if low == 0 else np.int64).astype(target)


def _booleans(items: list[Any]) -> np.ndarray[Any, Any] | None:
    if not set(map(type, items)) <= {bool}:
        return None
    return np.array(items, np.bool_)


def _strings(items: list[Any]) -> np.ndarray[Any, Any] | None:
    if not set(map(type, items)) <= {str, dict}:
        return None
    array = np.empty(len(items), object)
    try:
        array[:] = [string_bytes(item) for item in items]
    except RequestError:
        return None
    return array


def _name(dtype: int) -> str:
    return DTYPE_NAMES.get(dtype, f"unknown dtype enum ({dtype})")
