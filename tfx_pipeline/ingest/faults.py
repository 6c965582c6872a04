"""`BadValues`: values of one column that cannot be what the config says."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
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
        rows: int64 [count]: all such rows; None: only the first is known.
        only_warns: Whether the values are used all the same.
    """

    row: int
    value: str
    problem: str
    hint: str
    count: int
    rows: np.ndarray | None = field(default=None, repr=False, compare=False)
    only_warns: bool = False

    @property
    def known_rows(self) -> np.ndarray:
        """int64: the rows that are known to be bad."""
        return np.array([self.row]) if self.rows is None else self.rows

    def at(self, rows: np.ndarray) -> BadValues:
        """The same fault, its rows being positions in `rows` (int64 [N])."""
        return replace(self, row=int(rows[self.row]), rows=rows[self.known_rows])


def together(faults: list[BadValues]) -> list[BadValues]:
    """One fault a problem, of faults in the order of their rows."""
    problems: dict[str, list[BadValues]] = {}
    for fault in faults:
        problems.setdefault(fault.problem, []).append(fault)
    return [
        replace(same[0], count=len(same), rows=np.concatenate([fault.known_rows for fault in same]))
        for same in problems.values()
    ]


def one_bad(row: int, value: str, problem: str, hint: str) -> BadValues:
    """The fault of one row."""
    return BadValues(row, value, problem, hint, 1, np.array([row]))


def bad_values(
    values: pa.Array, mask: pa.Array, problem: str, hint: str, *, only_warns: bool = False
) -> list[BadValues]:
    """The fault of the values where `mask` (bool, null for no) is true, if there is one."""
    import pyarrow.compute as pc

    if not pc.any(mask).as_py():
        return []
    rows = np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False))
    value = values[int(rows[0])].as_py()
    text = f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
    return [BadValues(int(rows[0]), shown(text), problem, hint, len(rows), rows, only_warns)]


def too_many(hint: str, limit: int) -> str:
    """The hint of an error that would be none, were there no more than `limit` bad rows."""
    return f"{hint}\nMore than {limit:,} rows are bad (`data.max_bad_rows`)." if limit else hint


def shown(text: str) -> str:
    """A value as an error shows it, cut to a length that leaves room for the error."""
    return text if len(text) <= 60 else text[:57] + "..."


def bad_text(column: pa.Array) -> tuple[pa.Array, list[BadValues]]:
    """Bytes as text, and which are no UTF-8.

    Args:
        column: Length N, `binary`.

    Returns:
        `string` of length N, with numbers for the bytes that are none.
    """
    import pyarrow as pa

    try:
        return column.cast(pa.string()), []
    except pa.ArrowInvalid:
        pass
    texts, rows = [], []
    for row, value in enumerate(column.to_pylist()):
        try:
            texts.append(value.decode())
        except UnicodeDecodeError:
            texts.append(value.decode(errors="backslashreplace"))
            rows.append(row)
    hint = "Set `data.encoding` to what the file was written in, or mend the value."
    bad = BadValues(rows[0], shown(texts[rows[0]]), "is not UTF-8", hint, len(rows), np.array(rows))
    return pa.array(texts, pa.string()), [bad]
