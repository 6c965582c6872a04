"""Requests' arrays to one batch, and the batch's outputs back to the requests.

Semantics, codes and messages of batching_session.cc and batching_util.cc (tensorflow/serving).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from serving.server.status import Code, RequestError, invalid_argument

Array: TypeAlias = np.ndarray[Any, Any]
Shape: TypeAlias = tuple[Any, ...]


def rows_and_shape(inputs: Mapping[str, Array], variable: bool) -> tuple[int, Shape]:
    """How many rows a request has, and what it must have in common with another of its signature
    to go into one batch.

    Args:
        inputs: Of one request; requests of one signature have them in the same order.
        variable: Whether shapes are padded, so that only the number of dimensions matters.

    Raises:
        RequestError: INVALID_ARGUMENT: its inputs have no first dimension, or not the same.
    """
    size, key = -1, []
    for alias, array in inputs.items():
        shape = array.shape
        if not shape:
            raise invalid_argument("Batching Run() input tensors must have at least one dimension")
        if size != shape[0] and size >= 0:
            raise invalid_argument(
                "Batching Run() input tensors must have equal 0th-dimension size"
            )
        size = shape[0]
        key.append((alias, len(shape) if variable else shape[1:], array.dtype))
    if size < 0:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    return size, tuple(key)


def merge(
    requests: Sequence[Mapping[str, Array]], padding: int, variable: bool
) -> dict[str, Array]:
    """One batch of several requests' inputs.

    Args:
        requests: At least one, with equal shapes by `rows_and_shape`.
        padding: Rows to add; they repeat the first row of the last request that has one.
        variable: Whether to pad shapes with each request's first value.

    Raises:
        RequestError: INVALID_ARGUMENT: an empty array would have to be padded.
    """
    merged = {}
    for alias in requests[0]:
        arrays = [inputs[alias] for inputs in requests]
        if variable:
            arrays = _equal_shapes(arrays)
        if padding:
            row = next(array[:1] for array in reversed(arrays) if len(array))
            arrays.append(np.repeat(row, padding, axis=0))
        merged[alias] = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    return merged


def split(
    outputs: Mapping[str, Array], sizes: Sequence[int], batch_size: int
) -> Iterator[dict[str, Array]]:
    """Each request's outputs, as views of the batch's.

    Args:
        outputs: Of the batch.
        sizes: The requests' rows.
        batch_size: The rows that the batch was run with.

    Raises:
        RequestError: FAILED_PRECONDITION: an output does not have a row for each row of the batch.
    """
    for array in outputs.values():
        if not array.ndim:
            raise RequestError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if array.shape[0] != batch_size:
            raise RequestError(
                Code.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th "
                "dimension sizes of the input tensors",
            )
    return _views(outputs, sizes)


def _views(outputs: Mapping[str, Array], sizes: Sequence[int]) -> Iterator[dict[str, Array]]:
    start = 0
    for size in sizes:
        end = start + size
        yield {alias: array[start:end] for alias, array in outputs.items()}
        start = end


def join(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The outputs of a request whose rows were in several batches."""
    return {alias: np.concatenate([part[alias] for part in parts]) for alias in parts[0]}


def _equal_shapes(arrays: list[Array]) -> list[Array]:
    largest = tuple(map(max, zip(*(array.shape[1:] for array in arrays), strict=True)))
    return [array if array.shape[1:] == largest else _padded(array, largest) for array in arrays]


def _padded(array: Array, largest: tuple[int, ...]) -> Array:
    if not array.size:
        raise invalid_argument("Got empty tensor in batch of non-empty tensors.")
    padded = np.full((array.shape[0], *largest), array.flat[0], array.dtype)
    padded[tuple(slice(size) for size in array.shape)] = array
    return padded
