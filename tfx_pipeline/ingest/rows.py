"""`typed_rows`: files -> typed, checked rows with their split, in one stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfx_pipeline.ingest import contents, dates, splits
from tfx_pipeline.ingest.checks import Faults, LabelCount
from tfx_pipeline.ingest.faults import BadValues, bad_text
from tfx_pipeline.ingest.files import SPLITS, InputFile
from tfx_pipeline.ingest.readers import Chunk, chunks
from tfx_pipeline.ingest.rejected import rejected_rows
from tfx_pipeline.ingest.source import Source
from tfx_pipeline.ingest.tally import Findings, Tally
from tfx_pipeline.ingest.values import typed_lists

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_OF_FILES = 256  # Rows whose files are in memory at once.

Found = list[tuple[str, BadValues]]
"""What is wrong in some rows: the column, and its bad values."""


@dataclass(frozen=True)
class TypedRows:
    """N rows, ready to be encoded as tf.Examples.

    Attributes:
        columns: Large lists of float32, int64 or large_binary, by `Source.types`.
        splits: int8 [N], positions in `files.SPLITS`.
        split_by: Columns whose values decided the splits; none where folders did.
    """

    columns: pa.RecordBatch
    splits: np.ndarray
    split_by: list[str]


@dataclass(frozen=True)
class CheckedRows:
    """What was made of the rows of a chunk.

    Attributes:
        rows: Those that are right; not to be used if the faults are too many.
        kept: int64 [N]: which rows of the chunk they are.
        findings: What is wrong with the chunk, and its labels.
    """

    rows: TypedRows
    kept: np.ndarray
    findings: Findings


def typed_rows(files: Sequence[InputFile], source: Source) -> Iterator[TypedRows]:
    """Reads all files, one chunk after the other.

    The data are right only once the stream has ended: faults are collected over all rows, so that
    one error can say how many there are, and it is raised at the end. What was made of the rows
    before must not be kept then.

    Args:
        files: What `find_files` found.
        source: How they are read, typed and split.

    Raises:
        DataError: See `chunks`, `values`, `checks` and `splits` for the many ways.
    """
    bounds = time_bounds(files, source)
    tally = Tally(source)
    for chunk in sliced(chunks(files, source, ragged=tally.ragged), source):
        checked = check_chunk(chunk, source, bounds)
        tally.add(checked.findings)
        if tally.may_be_kept:
            yield checked.rows
    tally.check(files)


def sliced(found: Iterator[Chunk], source: Source) -> Iterator[Chunk]:
    """The chunks, cut where their rows name files: the files of a whole chunk may fill memory."""
    for chunk in found:
        if not source.path_columns:
            yield chunk
            continue
        for start in range(0, chunk.rows.num_rows, _ROWS_OF_FILES):
            rows = chunk.rows.slice(start, _ROWS_OF_FILES)
            yield Chunk(chunk.file, chunk.first_row + start, rows)


def check_chunk(
    chunk: Chunk, source: Source, bounds: splits.TimeBounds | None = None
) -> CheckedRows:
    """Types and splits the rows of a chunk; bad ones are left out if the config allows any.

    Args:
        chunk: The rows.
        source: How they are typed and split.
        bounds: Where a time split cuts.
    """
    limit = source.data.max_bad_rows
    kept = np.arange(chunk.rows.num_rows)
    some = chunk
    found: Found = []
    if limit:
        some, undecodable = _decoded(chunk)
        found, kept = undecodable, _without_bad(undecodable, kept)
        some = _taken(some, kept)
    while True:
        rows, more, labels = _type_chunk(some, source, bounds)
        # Positions are of the chunk's rows, not of those that are left of them.
        more = [(column, bad.at(kept)) for column, bad in more]
        # What only warns is told of the rows that are left, and so once.
        found = [(column, bad) for column, bad in found if not bad.only_warns] + more
        left = _without_bad(more, kept)
        if not limit or len(left) == len(kept) or chunk.rows.num_rows - len(left) > limit:
            break
        # A bad value may hide others: of these columns nothing more is known yet.
        kept, some = left, _taken(chunk, left)
    rejected = rejected_rows(chunk, found, limit)
    return CheckedRows(rows, kept, Findings(chunk.file, chunk.first_row, found, rejected, labels))


def _type_chunk(
    chunk: Chunk, source: Source, bounds: splits.TimeBounds | None
) -> tuple[TypedRows, Found, LabelCount]:
    """Types and splits the rows of a chunk; if something is wrong, they must not be used."""
    missing = source.data.missing_values
    names = frozenset(chunk.rows.schema.names)
    columns, untyped = {}, set()
    found: Found = []
    for name, kind in source.types.items():
        column, content = _column(chunk, name, names), source.contents.get(name)
        bad: list[BadValues] = []
        if content:
            column, bad = contents.fetched(column, content, chunk.file.path.parent, missing)
        columns[name], more = typed_lists(column, kind, missing, source.numbers)
        bad = bad or more
        if name in source.dates and not bad:
            bad = dates.unreadable(columns[name], source.dates[name])
        if content and not bad:
            bad = contents.faults_of(columns[name], content, missing, source.numbers)
        found += [(name, fault) for fault in bad]
        untyped.update([name] if any(not fault.only_warns for fault in bad) else [])
    split_ids, bad = _split(chunk, source, bounds, names)
    found += [(source.data.split.column or "", fault) for fault in bad]
    labels = LabelCount(source.data.label)
    if untyped.isdisjoint((source.data.label.column, source.data.label.of)):
        column, bad = labels.add(columns, split_ids)
        found += [(column, fault) for fault in bad]
    return TypedRows(_batch(columns), split_ids, _split_by(chunk, source)), found, labels


def _decoded(chunk: Chunk) -> tuple[Chunk, Found]:
    """The chunk with text for bytes, where those of a CSV are not all of them text."""
    import pyarrow as pa

    if chunk.file.format != "csv":
        return chunk, []
    found: Found = []
    arrays = []
    for field, column in zip(chunk.rows.schema, chunk.rows.columns, strict=True):
        texts, bad = bad_text(column) if pa.types.is_binary(field.type) else (column, [])
        arrays.append(texts)
        found += [(field.name, fault) for fault in bad]
    rows = pa.RecordBatch.from_arrays(arrays, chunk.rows.schema.names)
    return replace(chunk, rows=rows), found


def _without_bad(found: Found, kept: np.ndarray) -> np.ndarray:
    bad = [fault.known_rows for _, fault in found if not fault.only_warns]
    return np.setdiff1d(kept, np.concatenate(bad)) if bad else kept


def _taken(chunk: Chunk, kept: np.ndarray) -> Chunk:
    import pyarrow as pa

    if len(kept) == chunk.rows.num_rows:
        return chunk
    return replace(chunk, rows=chunk.rows.take(pa.array(kept)))


def _batch(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _column(chunk: Chunk, name: str, names: frozenset[str]) -> pa.Array:
    import pyarrow as pa

    if name in names:
        return chunk.rows.column(name)
    return pa.nulls(chunk.rows.num_rows)  # A feature that no tf.Example of the chunk has.


def _split(
    chunk: Chunk, source: Source, bounds: splits.TimeBounds | None, names: frozenset[str]
) -> tuple[np.ndarray, list[BadValues]]:
    if chunk.file.split is not None:
        return np.full(chunk.rows.num_rows, SPLITS.index(chunk.file.split), np.int8), []
    column = source.data.split.column
    if source.data.split.method == "time" and bounds is not None and column:
        values, bad = splits.times(_column(chunk, column, names), source.dates.get(column, ""))
        return splits.time_splits(values, bounds), bad
    if source.data.split.method == "column" and column:
        return splits.column_splits(_column(chunk, column, names))
    return splits.hash_splits(chunk.rows, source.data.split), []


def _split_by(chunk: Chunk, source: Source) -> list[str]:
    if source.hashes_whole_row:
        return list(chunk.rows.schema.names)
    return source.split_columns


def time_bounds(files: Sequence[InputFile], source: Source) -> splits.TimeBounds | None:
    """Where a time split cuts; None for other splits. It reads one column of all rows, and keeps
    eight bytes of each.

    Raises:
        DataError: The column holds something else than times, and not in bad rows alone.
    """
    if source.data.split.method != "time":
        return None
    column = source.data.split.column
    assert column, "SplitConfig lets no time split pass without its column"
    faults, values = Faults(source), []
    ranges: dict[Path, tuple[float, float]] = {}
    for chunk in chunks(files, source, [column]):
        names = frozenset(chunk.rows.schema.names)
        found, bad = splits.times(_column(chunk, column, names), source.dates.get(column, ""))
        present = found[~np.isnan(found)]
        values.append(present)
        if len(present):
            low, high = ranges.get(chunk.file.path, (np.inf, -np.inf))
            ranges[chunk.file.path] = (min(low, present.min()), max(high, present.max()))
        faults.add(chunk.file, chunk.first_row, column, bad)
    if not source.data.max_bad_rows or not any(map(len, values)):
        faults.raise_any(files)
    return replace(splits.time_bounds(values, source.data.split), ranges=ranges)
