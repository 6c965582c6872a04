"""`read_table`: the whole data as text columns, which is what the profile is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tfx_pipeline.config.data import DataConfig
from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest.files import InputFile
from tfx_pipeline.ingest.readers import chunks, column_names
from tfx_pipeline.ingest.source import Source
from tfx_pipeline.ingest.splits import row_hashes
from tfx_pipeline.ingest.values import typed_lists


@dataclass(frozen=True)
class Table:
    """The data as text.

    Attributes:
        columns: large_string [N] by name, null where the field is empty. Several values of the
            label in a row are joined with `|`.
        unusable: Columns that are no scalars, with what they are.
        lists: Whether a row of the label has several values.
        hashes: float64 [N], what the default hash split cuts.
        sampled: Whether there are more rows than were read.
    """

    columns: dict[str, pa.Array]
    unusable: dict[str, str]
    lists: bool
    hashes: np.ndarray
    sampled: bool

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.hashes)


def read_table(files: Sequence[InputFile], data: DataConfig, max_rows: int) -> Table:
    """Reads up to `max_rows` rows (rounded up to whole chunks).

    Raises:
        DataError: The data cannot be read, or lacks the label's column.
    """
    source = Source(data, {data.label.column: "bytes"}, data.path)
    names = column_names(files[0], source)
    parts: dict[str, list[pa.Array]] = {}
    unusable: dict[str, str] = {}
    hashes, rows, sampled, lists = [], 0, False, False
    for chunk in chunks(files, source):
        if rows >= max_rows:
            sampled = True
            break
        for name in names or chunk.rows.schema.names:
            is_label = name == data.label.column
            text, problem, several = _text(
                chunk.rows, name, rows > 0 and name not in parts, is_label
            )
            lists |= several
            if problem:
                unusable[name] = problem
            elif name not in unusable:
                parts.setdefault(name, []).append(text)
        hashes.append(row_hashes(chunk.rows, []))
        rows += chunk.rows.num_rows
    columns = {
        name: pa.concat_arrays(arrays) for name, arrays in parts.items() if name not in unusable
    }
    return Table(columns, unusable, lists, np.concatenate(hashes), sampled)


def _text(
    rows: pa.RecordBatch, name: str, is_late: bool, is_label: bool
) -> tuple[pa.Array, str, bool]:
    """A column's texts, or why there are none; and whether several of a row were joined."""
    if name not in rows.schema.names or is_late:
        return None, "not in every part of the data", False
    lists, faults = typed_lists(rows.column(name), "bytes", [])
    if faults:
        return None, faults[0].problem, False
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    if lengths.max(initial=0) > 1 and not is_label:
        return None, "several values in a row", False
    try:
        values = lists.flatten().cast(pa.large_string())
    except pa.ArrowInvalid:
        return None, "bytes, not text", False
    if lengths.max(initial=0) > 1:
        cells = pa.LargeListArray.from_arrays(lists.offsets, values).to_pylist()
        joined = ["|".join(cell) or None for cell in cells]
        return pa.array(joined, pa.large_string()), "", True
    positions = np.where(lengths == 1, np.cumsum(lengths) - 1, -1)
    indices = pa.array(positions, pa.int64(), mask=positions < 0)
    return values.take(indices), "", False


def nearest_label(label: str, found: Sequence[str]) -> DataError:
    """The error for a label column that is not there."""
    import difflib

    lower = {name.lower(): name for name in found}
    close = difflib.get_close_matches(label.lower(), lower, n=3, cutoff=0.5)
    guess = f"Did you mean {' or '.join(repr(lower[name]) for name in close)}? " if close else ""
    return DataError(
        f"there is no column {label!r} to be the label",
        hint=f"{guess}The columns are: {', '.join(found[:40])}.",
    )
