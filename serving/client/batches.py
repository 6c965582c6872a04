"""Splits the inputs of a large call into requests, and joins their answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from serving.client.operations import Arrays
from tfx_pipeline.errors import DataError


def split(inputs: Arrays, batch_size: int | None) -> Iterator[Arrays]:
    """The inputs in pieces of at most `batch_size` rows (first dimension); None leaves them whole.

    Raises:
        DataError: `batch_size` is not positive, or the inputs have no rows in common.
    """
    if batch_size is None:
        yield inputs
        return
    if batch_size < 1:
        raise DataError(f"batch_size={batch_size} sends nothing", hint="Choose 1 or more.")
    counts = {name: len(array) if array.ndim else None for name, array in inputs.items()}
    rows = next(iter(counts.values()), None)
    if rows is None or set(counts.values()) != {rows}:
        said = ", ".join(f"{n}: {'a scalar' if c is None else c}" for n, c in counts.items())
        raise DataError(
            f"inputs of unlike numbers of rows cannot be sent in batches ({said})",
            hint="Leave batch_size out, to send them in one request.",
        )
    for start in range(0, max(rows, 1), batch_size):
        yield {name: array[start : start + batch_size] for name, array in inputs.items()}


def join(parts: Sequence[Arrays], sizes: Sequence[int]) -> Arrays:
    """The answers of all batches as one.

    Outputs with a row for each input row are put one after the other. An output without (a
    constant of the model) must be the same in every answer.

    Args:
        parts: Output name to array, for each batch.
        sizes: The rows of each batch.

    Raises:
        DataError: An output is neither.
    """
    if len(parts) == 1:
        return parts[0]
    return {name: _joined(name, [part[name] for part in parts], sizes) for name in parts[0]}


def _joined(name: str, arrays: list[np.ndarray], sizes: Sequence[int]) -> np.ndarray:  # type: ignore[type-arg]
    has_rows = all(a.ndim and len(a) == size for a, size in zip(arrays, sizes, strict=True))
    if has_rows and len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    if all(np.array_equal(array, arrays[0]) for array in arrays[1:]):
        return arrays[0]
    shapes = ", ".join(str(list(array.shape)) for array in arrays[:3])
    raise DataError(
        f"output {name} cannot be joined: its batches have shapes {shapes}",
        hint="The output depends on the whole batch; send all rows in one request.",
    )
