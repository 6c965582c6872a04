"""The JSON of a predict request to tensors (FillPredictRequestFromJson of json_tensor.cc)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.server.rest.parsing import is_base64, value_text
from serving.server.rest.values import fault, shape_of, tensor
from serving.server.status import Code, RequestError, invalid_argument

Arrays = dict[str, np.ndarray[Any, Any]]


def read_tensors(
    document: Mapping[str, Any], signature: str, dtypes: Mapping[str, int]
) -> tuple[Arrays, bool]:
    """Reads `instances` (rows) or `inputs` (columns).

    Args:
        document: The request.
        signature: Its signature name; empty: none was sent.
        dtypes: The signature's inputs: alias to DataType.

    Returns:
        Alias to array, and whether the request is in rows.

    Raises:
        RequestError: The request does not match the signature, or itself.
    """
    if not dtypes:
        raise invalid_argument(f"Failed to get input map for signature: {signature or 'DEFAULT'}")
    if "instances" in document:
        instances = document["instances"]
        if "inputs" in document:
            raise _format_error(
                document,
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to "
                "exist ",
            )
        if not isinstance(instances, list):
            raise _format_error(document, "Excepting 'instances' to be an list/array")
        if not instances:
            raise _format_error(document, "No values in 'instances' array")
        return _from_rows(instances, dtypes), True
    if "inputs" not in document:
        raise invalid_argument("Missing 'inputs' or 'instances' key")
    return _from_columns(document["inputs"], dtypes), False


def _from_columns(inputs: Any, dtypes: Mapping[str, int]) -> Arrays:
    if not _is_row_object(inputs):
        if len(dtypes) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        inputs = {min(dtypes): inputs}
    arrays = {}
    for name, dtype in sorted(dtypes.items()):
        if name not in inputs:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
        array = tensor(inputs[name], dtype)
        if array is None:
            raise fault(inputs[name], dtype) or _unexplained()
        arrays[name] = array
    return arrays


def _from_rows(instances: list[Any], dtypes: Mapping[str, int]) -> Arrays:
    first = instances[0]
    if not isinstance(first, dict) and len(dtypes) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    arrays = _whole(instances, dtypes)
    if arrays is None:
        raise _row_fault(instances, dtypes)
    return arrays


def _whole(rows: list[Any], dtypes: Mapping[str, int]) -> Arrays | None:
    """All rows at once; None if one of them is wrong."""
    arrays = {}
    if _is_row_object(rows[0]):
        names = dtypes.keys()
        if not all(_is_row_object(row) and row.keys() == names for row in rows):
            return None
        columns = {name: [row[name] for row in rows] for name in names}
    elif any(map(_is_row_object, rows)):
        return None
    else:
        columns = {min(dtypes): rows}
    for name, values in columns.items():
        array = tensor(values, dtypes[name])
        if array is None:
            return None
        arrays[name] = array
    return arrays


def _row_fault(instances: list[Any], dtypes: Mapping[str, int]) -> RequestError:
    """What is wrong with the first row that does not fit the first one, or with that itself."""
    low, high = 0, len(instances)  # the row is one of these; found by halving
    while high - low > 1:
        middle = (low + high) // 2
        if _whole([instances[0], *instances[low:middle]], dtypes) is None:
            high = middle
        else:
            low = middle
    in_objects = _is_row_object(instances[0])
    shapes: dict[str, tuple[int, ...]] = {}
    for index in sorted({0, low}):
        row = instances[index]
        if in_objects is not _is_row_object(row):
            expected, got = ("object", "list") if in_objects else ("value/list", "object")
            return invalid_argument(
                f"Expecting {expected} but got {got} at item {index} of input list"
            )
        columns = row if in_objects else {min(dtypes): row}
        for name, value in columns.items():
            found = _item_fault(name, value, dtypes, shapes)
            if found:
                key = f" key: {name}" if in_objects else ""
                return invalid_argument(
                    f"Failed to process element: {index}{key} of 'instances' list. Error: "
                    f"{Code(found.code).name}: {found.message}"
                )
        if in_objects and columns.keys() != dtypes.keys():
            return invalid_argument(
                f"Failed to process element: {index} of 'instances' list. JSON object: "
                f"{value_text(row)} keys must be equal to: {','.join(sorted(dtypes))}"
            )
    return _unexplained()


def _item_fault(
    name: str, value: Any, dtypes: Mapping[str, int], shapes: dict[str, tuple[int, ...]]
) -> RequestError | None:
    if name not in dtypes:
        return invalid_argument(f"JSON object: does not have named input: {name}")
    found = fault(value, dtypes[name])
    if found:
        return found
    shape = shape_of(value)
    expected = shapes.setdefault(name, shape)
    size, expected_size = int(np.prod(shape)), int(np.prod(expected))
    if size != expected_size:
        return invalid_argument(f"Expecting tensor size: {expected_size} but got: {size}")
    if shape != expected:
        return invalid_argument(
            f"Expecting shape {_shape_text(expected)} but got: {_shape_text(shape)}"
        )
    return None


def _is_row_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _format_error(document: Mapping[str, Any], message: str) -> RequestError:
    return invalid_argument(f"JSON Value: {value_text(document)} {message}")


def _unexplained() -> RequestError:
    # 65 or more dimensions over all rows, each row within the bound.
    return invalid_argument("the request has more dimensions than a tensor can have")
