"""Writes tensors as JSON, number for number as TensorFlow Serving does (json_tensor.cc)."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

import numpy as np

from serving.server.status import invalid_argument
from serving.tensors import DTYPE_NAMES, dtype_number

_BYTES_SUFFIX = "_bytes"  # an output of that name holds bytes, any other string output text
_DIGITS = {np.dtype(np.float32): 9, np.dtype(np.float64): 17}  # that tell any two values apart


def rows_json(outputs: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """The answer to a request with `instances`: one element for each row.

    Args:
        outputs: Alias to array; the first dimension of all is the batch.

    Raises:
        RequestError: INVALID_ARGUMENT: an output is a scalar, batches differ, or JSON has no
            such values.
    """
    _check_not_empty(outputs)
    batch = None
    for name, array in sorted(outputs.items()):
        if not array.shape:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if batch is not None and len(array) != batch:
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {batch}"
            )
        batch = len(array)
    columns = {
        name: _nested(_texts(name, array), array.shape, 1)
        for name, array in sorted(outputs.items())
    }
    if len(columns) == 1:
        (items,) = columns.values()
        text = ", ".join(items)
    else:
        keys = [encode_basestring(name) for name in columns]
        text = ",".join(
            "\n        {\n"
            + ",\n".join(
                f"            {key}: {value}" for key, value in zip(keys, row, strict=True)
            )
            + "\n        }"
            for row in zip(*columns.values(), strict=True)
        )
    end = "\n    ]" if batch else "]"
    return _encoded(f'{{\n    "predictions": [{text}{end}\n}}')


def columns_json(outputs: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """The answer to a request with `inputs`: each output whole.

    Raises:
        RequestError: INVALID_ARGUMENT: JSON has no such values.
    """
    _check_not_empty(outputs)
    columns = {
        name: _nested(_texts(name, array), array.shape, 0)[0]
        for name, array in sorted(outputs.items())
    }
    if len(columns) == 1:
        (text,) = columns.values()
    else:
        members = ",\n".join(
            f"        {encode_basestring(name)}: {text}" for name, text in columns.items()
        )
        text = f"{{\n{members}\n    }}"
    return _encoded(f'{{\n    "outputs": {text}\n}}')


def classifications_json(classifications: Sequence[Sequence[tuple[str, float]]]) -> bytes:
    """The answer to a `classify` request: for each example its (label, score) pairs.

    Raises:
        RequestError: INVALID_ARGUMENT: there are none.
    """
    if not classifications:
        raise invalid_argument("Cannot convert empty ClassificationResults to JSON")
    scores = decimals(np.array([s for row in classifications for _, s in row], np.float32))
    at = iter(scores)
    rows = [
        "[" + ", ".join(f"[{encode_basestring(label)}, {next(at)}]" for label, _ in row) + "]"
        for row in classifications
    ]
    return _encoded(f'{{\n    "results": [{", ".join(rows)}\n    ]\n}}')


def regressions_json(values: Sequence[float]) -> bytes:
    """The answer to a `regress` request: one value for each example.

    Raises:
        RequestError: INVALID_ARGUMENT: there are none.
    """
    if not values:
        raise invalid_argument("Cannot convert empty RegressionResults to JSON")
    return _encoded(
        f'{{\n    "results": [{", ".join(decimals(np.asarray(values, np.float32)))}]\n}}'
    )


def decimals(values: np.ndarray[Any, Any]) -> list[str]:
    """Floats as JSON: six digits where those are exact, else as many as tell any two values apart.

    Args:
        values: float32 or float64, one dimension.

    Returns:
        A text for each; whole numbers end in `.0`; NaN, Infinity and -Infinity are literals.
    """
    texts = _formatted("%.6g ", values)
    back = np.array(texts, np.float64).astype(values.dtype) if texts else values
    inexact = np.flatnonzero(back != values)  # NaN is among them
    exact = _formatted(f"%.{_DIGITS[values.dtype]}g ", values[inexact])
    for index, text in zip(inexact.tolist(), exact, strict=True):
        texts[index] = text
    texts = [text if "." in text or "e" in text else text + ".0" for text in texts]
    for index in np.flatnonzero(~np.isfinite(values)).tolist():
        value = values[index]
        texts[index] = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return texts


def _formatted(pattern: str, values: np.ndarray[Any, Any]) -> list[str]:
    return (pattern * len(values) % tuple(values.tolist())).split()


def _texts(name: str, array: np.ndarray[Any, Any]) -> list[str]:
    """Each value of a tensor as JSON, in row-major order."""
    flat = array.reshape(-1)
    kind = flat.dtype.kind
    if kind == "O":
        values = flat.tolist()
        if name.endswith(_BYTES_SUFFIX):
            return [f'{{"b64": "{base64.b64encode(value).decode()}"}}' for value in values]
        return [encode_basestring(value.decode("utf-8", "surrogateescape")) for value in values]
    if kind == "b":
        return ["true" if value else "false" for value in flat.tolist()]
    if kind in "iu":
        return list(map(str, flat.tolist()))
    if flat.dtype in _DIGITS:
        return decimals(flat)
    number = dtype_number(array)
    if DTYPE_NAMES[number] in ("half", "bfloat16"):
        return decimals(flat.astype(np.float32))
    raise invalid_argument(f"Failed to write JSON value for tensor type: {DTYPE_NAMES[number]}")


def _nested(texts: list[str], shape: tuple[int, ...], level: int) -> list[str]:
    """Brackets around the values, for the dimensions from `level` on."""
    for axis in range(len(shape) - 1, level - 1, -1):
        size = shape[axis]
        texts = [
            "[" + ", ".join(texts[index * size : (index + 1) * size]) + "]"
            for index in range(math.prod(shape[:axis]))
        ]
    return texts


def _check_not_empty(outputs: Mapping[str, np.ndarray[Any, Any]]) -> None:
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")


def _encoded(text: str) -> bytes:
    # A text output that is no UTF-8 is sent as it is, as the C++ server does.
    return text.encode("utf-8", "surrogateescape")
