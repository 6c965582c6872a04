"""`BadValues`: values of one column that cannot be what the config says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class BadValues:
    """Values of one column and batch that cannot be what the config says.

    Attributes:
        row: The first such row, from 0 in the batch.
        value: Its value, as text.
        problem: What is wrong with it, to be read after the value.
        hint: What to do.
        count: How many values are like that.
    """

    row: int
    value: str
    problem: str
    hint: str
    count: int


def bad_values(values: pa.Array, mask: pa.Array, problem: str, hint: str) -> list[BadValues]:
    """The fault of the values where `mask` (bool, null for no) is true, if there is one."""
    import pyarrow.compute as pc

    rows = np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False))
    if not len(rows):
        return []
    value = values[int(rows[0])].as_py()
    text = f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
    return [BadValues(int(rows[0]), shown(text), problem, hint, len(rows))]


def shown(text: str) -> str:
    """A value as an error shows it, cut to a length that leaves room for the error."""
    return text if len(text) <= 60 else text[:57] + "..."
