"""Holds inputs against a signature before they are sent, and says which one is wrong and why."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np

from serving.client.model_types import Signature, TensorInfo
from tfx_pipeline.errors import DataError

_DTYPES: dict[str, Any] = {
    "float": np.float32,
    "double": np.float64,
    "half": np.float16,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
    "complex64": np.complex64,
    "complex128": np.complex128,
}
"""TensorFlow's names of dtypes to numpy's. Others (bfloat16) are sent as they are given."""
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


def numpy_dtype(name: str) -> np.dtype[Any] | None:
    """The numpy dtype of a TensorFlow one; object for strings, None where numpy has none."""
    if name == "string":
        return np.dtype(object)
    return np.dtype(_DTYPES[name]) if name in _DTYPES else None


def check_names(given: Iterable[str], signature: Signature) -> None:
    """Compares the names of inputs.

    Raises:
        DataError: One is unknown or missing; with the name that was probably meant.
    """
    given = list(given)
    unknown = [name for name in given if name not in signature.inputs]
    missing = [name for name in signature.required if name not in given]
    if not unknown and not missing:
        return
    if signature.examples_input:
        raise DataError(
            f"the signature takes rows, and was given the inputs {_listed(given)}",
            hint="Give rows as a list of dicts: predict(model, [row, ...]).",
        )
    parts = []
    if unknown:
        parts.append(f"the signature has no input {_listed(unknown)}")
    if missing:
        parts.append(f"it lacks {_listed(missing)}" if unknown else f"no input {_listed(missing)}")
    raise DataError("; ".join(parts), hint=_meant(unknown, signature))


def as_declared(name: str, values: Any, info: TensorInfo) -> np.ndarray[Any, Any]:
    """The values of one input as an array of the declared dtype.

    Lists and arrays are cast where no value changes, and floating point is rounded to the declared
    width. Texts that hold numbers, as CSV has them, become numbers.

    Raises:
        DataError: They cannot be cast, or the shape is another.
    """
    given = values if isinstance(values, np.ndarray) else _from_lists(name, values, info)
    cast = _cast(given, info.dtype)
    if cast is None:
        raise _mismatch(name, given, info, _cast_hint(given, info))
    if not _shape_fits(cast.shape, info.shape):
        raise _mismatch(name, given, info, _shape_hint(cast.shape, info.shape))
    return cast


def _from_lists(name: str, values: Any, info: TensorInfo) -> np.ndarray[Any, Any]:
    if info.dtype == "string" and isinstance(values, bytes):
        return np.asarray(values, dtype=object)
    try:
        array = np.asarray(values)
    except ValueError:
        raise DataError(
            f"input {name} must be {info}, and was given lists of unlike lengths",
            where=f"input {name}",
            hint="Pad them to one length.",
        ) from None
    if array.dtype.kind in "SU" or info.dtype == "string":
        # numpy's own text types drop trailing zeros and turn 1 beside "a" into "1"
        array = np.asarray(values, dtype=object)
    return array


def _cast(given: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any] | None:
    wanted = numpy_dtype(name)
    if wanted is None or given.dtype == wanted != np.dtype(object):
        return given
    if name == "string":
        items = given.ravel().tolist()
        return given if all(isinstance(item, (str, bytes)) for item in items) else None
    if given.dtype.kind in "OSU":
        return _parsed(given, wanted)
    if given.size == 0:
        return given.astype(wanted)
    if wanted.kind == "b" or (given.dtype.kind in "fc" and wanted.kind in "iu"):
        return None
    if given.dtype.kind == "c" and wanted.kind != "c":
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        cast = given.astype(wanted)
        if given.dtype.kind in "fc":
            # Rounding is meant; a finite value that becomes infinite is not.
            return cast if np.array_equal(np.isfinite(cast), np.isfinite(given)) else None
        same = np.array_equal(cast.astype(given.dtype), given) and np.array_equal(
            cast < 0, given < 0
        )
    return cast if same else None


def _parsed(given: np.ndarray[Any, Any], wanted: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    """Objects and texts as numbers; None where one is none."""
    convert = {"f": float, "i": int, "u": int}.get(wanted.kind)
    if convert is None:
        return None
    try:
        numbers = [convert(item) for item in given.ravel().tolist()]
        return np.asarray(numbers, dtype=wanted).reshape(given.shape)
    except (TypeError, ValueError, OverflowError):
        return None


def _shape_fits(given: tuple[int, ...], declared: tuple[int | None, ...] | None) -> bool:
    if declared is None:
        return True
    return len(given) == len(declared) and all(
        want is None or size == want for size, want in zip(given, declared, strict=True)
    )


def _mismatch(name: str, given: np.ndarray[Any, Any], info: TensorInfo, hint: str) -> DataError:
    dtype = _NAMES.get(given.dtype) or ("string" if given.dtype.kind in "OSU" else given.dtype)
    return DataError(
        f"input {name} must be {info}, and was given {dtype} {list(given.shape)}",
        where=f"input {name}",
        hint=hint,
    )


def _cast_hint(given: np.ndarray[Any, Any], info: TensorInfo) -> str:
    if info.dtype == "string":
        return "Give texts or bytes."
    if given.dtype.kind in "OSU":
        items = given.ravel().tolist()
        wrong = next((item for item in items if _parsed(np.array([item], object),
                     np.dtype(_DTYPES[info.dtype])) is None), None)  # fmt: skip
        return f"{wrong!r} is no {info.dtype}."
    return f"Values would change in the cast; convert them to {info.dtype} as you mean it."


def _shape_hint(given: tuple[int, ...], declared: tuple[int | None, ...] | None) -> str:
    if declared and _shape_fits(given, declared[1:]):
        return "The first dimension is the row: give a list of rows, array[np.newaxis] for one."
    return "A ? may be of any size."


def _meant(unknown: list[str], signature: Signature) -> str:
    takes = "; ".join(f"{name}: {info}" for name, info in signature.inputs.items())
    for name in unknown:
        near = did_you_mean(name, signature.inputs)
        if near:
            return f"Did you mean {near}? The signature takes {takes}."
    return f"The signature takes {takes}."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name that is most like one that is not; "" if none is."""
    by_lower = {known_name.lower(): known_name for known_name in known}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=1)
    return by_lower[near[0]] if near else ""


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "none"
