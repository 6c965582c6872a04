"""`typed_rows`: files -> typed, checked rows with their split, in one stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfx_pipeline.ingest import contents, dates, splits
from tfx_pipeline.ingest.checks import Faults, LabelCount
from tfx_pipeline.ingest.faults import BadValues
from tfx_pipeline.ingest.files import SPLITS, InputFile
from tfx_pipeline.ingest.readers import Chunk, chunks
from tfx_pipeline.ingest.source import Source
from tfx_pipeline.ingest.values import typed_lists

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_OF_FILES = 256  # Rows whose files are in memory at once.


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
    bounds = _time_bounds(files, source) if source.data.split.method == "time" else None
    faults, labels = Faults(source), LabelCount(source.data.label)
    for chunk in sliced(chunks(files, source), source):
        rows = type_chunk(chunk, source, bounds, faults, labels)
        if not faults.found:
            yield rows
    faults.raise_any(files)
    labels.check(source)


def sliced(found: Iterator[Chunk], source: Source) -> Iterator[Chunk]:
    """The chunks, cut where their rows name files: the files of a whole chunk may fill memory."""
    for chunk in found:
        if not source.path_columns:
            yield chunk
            continue
        for start in range(0, chunk.rows.num_rows, _ROWS_OF_FILES):
            rows = chunk.rows.slice(start, _ROWS_OF_FILES)
            yield Chunk(chunk.file, chunk.first_row + start, rows)


def type_chunk(
    chunk: Chunk,
    source: Source,
    bounds: splits.TimeBounds | None,
    faults: Faults,
    labels: LabelCount,
) -> TypedRows:
    """Types and splits the rows of a chunk; they must not be used if `faults` has any then.

    Args:
        chunk: The rows.
        source: How they are typed and split.
        bounds: Where a time split cuts.
        faults: Takes what is wrong with them.
        labels: Counts their labels.
    """
    missing = source.data.missing_values
    columns, untyped = {}, set()
    for name, kind in source.types.items():
        column, content = _column(chunk, name), source.contents.get(name)
        bad: list[BadValues] = []
        if content:
            column, bad = contents.fetched(column, content, chunk.file.path.parent, missing)
        columns[name], more = typed_lists(column, kind, missing, source.numbers)
        bad = bad or more
        if name in source.dates and not bad:
            bad = dates.unreadable(columns[name], source.dates[name])
        if content and not bad:
            bad = contents.faults_of(columns[name], content, missing, source.numbers)
        faults.add(chunk.file, chunk.first_row, name, bad)
        untyped.update([name] if bad else [])
    split_ids, bad = _split(chunk, source, bounds)
    faults.add(chunk.file, chunk.first_row, source.data.split.column or "", bad)
    if untyped.isdisjoint((source.data.label.column, source.data.label.of)):
        column, bad = labels.add(columns, split_ids)
        faults.add(chunk.file, chunk.first_row, column, bad)
    return TypedRows(_batch(columns), split_ids, _split_by(chunk, source))


def _batch(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _column(chunk: Chunk, name: str) -> pa.Array:
    import pyarrow as pa

    if name in chunk.rows.schema.names:
        return chunk.rows.column(name)
    return pa.nulls(chunk.rows.num_rows)  # A feature that no tf.Example of the chunk has.


def _split(
    chunk: Chunk, source: Source, bounds: splits.TimeBounds | None
) -> tuple[np.ndarray, list[BadValues]]:
    if chunk.file.split is not None:
        return np.full(chunk.rows.num_rows, SPLITS.index(chunk.file.split), np.int8), []
    column = source.data.split.column
    if source.data.split.method == "time" and bounds is not None and column:
        values, bad = splits.times(_column(chunk, column), source.dates.get(column, ""))
        return splits.time_splits(values, bounds), bad
    if source.data.split.method == "column" and column:
        return splits.column_splits(_column(chunk, column))
    return splits.hash_splits(chunk.rows, source.data.split), []


def _split_by(chunk: Chunk, source: Source) -> list[str]:
    if source.hashes_whole_row:
        return list(chunk.rows.schema.names)
    return source.split_columns


def _time_bounds(files: Sequence[InputFile], source: Source) -> splits.TimeBounds:
    column = source.data.split.column
    assert column, "SplitConfig lets no time split pass without its column"
    faults, values = Faults(source), []
    for chunk in chunks(files, source, [column]):
        found, bad = splits.times(_column(chunk, column), source.dates.get(column, ""))
        values.append(found)
        faults.add(chunk.file, chunk.first_row, column, bad)
    faults.raise_any(files)
    return splits.time_bounds(values, source.data.split)
