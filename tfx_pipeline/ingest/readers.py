"""`chunks`: the rows of every file as record batches, as they are in the file."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest import (
    arrow_reader,
    csv_reader,
    image_folder,
    parquet_reader,
    tfrecord_reader,
)
from tfx_pipeline.ingest.csv_reader import Ragged
from tfx_pipeline.ingest.files import InputFile
from tfx_pipeline.ingest.source import Source

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

_NOTHING = "nothing"  # A column of nulls fits any other.


@dataclass(frozen=True)
class Chunk:
    """Rows of one file that follow each other.

    Attributes:
        file: Where they come from.
        first_row: Index of the first of them in the file, from 0.
        rows: Their columns: text for CSV, the file's own types for Parquet, lists for TFRecord. A
            TFRecord's batch lacks the features that none of its examples has.
    """

    file: InputFile
    first_row: int
    rows: pa.RecordBatch


@dataclass
class Seen:
    """What is known of the files before, which those that follow must fit.

    Attributes:
        rows: How many they have.
        columns: Of each file, unless it is a CSV: what its columns hold, by their names.
        first: What each column that is needed holds, and the first file in which it does.
        known: One that need not be read.
    """

    rows: int = 0
    known: InputFile | None = None
    columns: dict[Path, dict[str, str]] = field(default_factory=dict)
    first: dict[str, tuple[str, InputFile]] = field(default_factory=dict)

    def add(self, file: InputFile, held: dict[str, str], needed: Container[str]) -> None:
        """Takes what columns of a file hold.

        Raises:
            DataError: Numbers in one file and text in another are no one column, whatever casts
                could do.
        """
        if file.format != "csv":
            join_columns(self.columns.setdefault(file.path, {}), held)
        for name, kind in held.items():
            if name not in needed or kind == _NOTHING:
                continue
            before, where = self.first.setdefault(name, (kind, file))
            if before != kind:
                raise DataError(
                    f"the column {name!r} holds {kind} here, but {before} in {where.path}",
                    where=str(file.path),
                    hint="Write it with one type in all files.",
                )


def join_columns(columns: dict[str, str], held: dict[str, str]) -> None:
    """Adds what columns hold in other rows: nothing, where others hold something, tells nothing."""
    for name, kind in held.items():
        if kind != _NOTHING or name not in columns:
            columns[name] = kind


def chunks(
    files: Sequence[InputFile],
    source: Source,
    columns: Sequence[str] | None = None,
    ragged: Ragged | None = None,
    seen: Seen | None = None,
) -> Iterator[Chunk]:
    """Reads files one after the other.

    Args:
        files: What `find_files` found.
        source: How they are read.
        columns: Columns that must be there, and the only ones read; None: the source's own needs
            (all columns where the split hashes the whole row).
        ragged: Takes the rows of a CSV that have another width than its header, which
            `data.max_bad_rows` allows.
        seen: What is known of other files of the data; takes what is found in these.

    Raises:
        DataError: A file is missing, unreadable or malformed, lacks a column, or has another type
            for it than the files before; or there is no row at all.
    """
    needed = list(columns) if columns is not None else source.needed_columns
    wanted = None if columns is None and source.hashes_whole_row else frozenset(needed)
    ragged = ragged or Ragged(source.data.max_bad_rows)
    typed = frozenset(needed)
    seen = seen or Seen()
    for number, file in enumerate(files):
        found = column_names(file, source)
        if found is not None:
            require_columns(file, found, needed, files[0] if number else seen.known)
            if number == 0:
                _log_unused(found, source)
        row = 0
        for batch in _read(file, source, wanted, ragged):
            seen.add(file, {f.name: _type_family(f.type) for f in batch.schema}, typed)
            if batch.num_rows:
                yield Chunk(file, row, batch)
            row += batch.num_rows
        if not row:
            _log.warning("%s has no rows", file.path)
        seen.rows += row
    check_all(files, source, needed, seen)


def check_all(
    files: Sequence[InputFile], source: Source, needed: Sequence[str], seen: Seen
) -> None:
    """Checks what only all files together tell, once all are known.

    Raises:
        DataError: There is no row at all, or no tf.Example has a feature.
    """
    if not seen.rows:
        what = "a header but no rows" if files[0].format == "csv" else "no rows"
        raise DataError(
            f"the data has {what}",
            where=str(files[0].path) + (f" and {len(files) - 1} more" if len(files) > 1 else ""),
            hint="Check how the file was made, or name another in `data.path`.",
        )
    if files[0].format == "tfrecord":
        features = {name for held in seen.columns.values() for name in held}
        require_columns(files[0], sorted(features), needed, None)


def column_names(file: InputFile, source: Source) -> list[str] | None:
    """The columns of a file; None for TFRecord, where only the examples themselves tell."""
    if file.format == "csv":
        return csv_reader.column_names(file.path, source.data)
    if file.format == "images":
        return image_folder.COLUMNS
    if file.format == "arrow":
        return arrow_reader.column_names(file.path)
    return parquet_reader.column_names(file.path) if file.format == "parquet" else None


def require_columns(
    file: InputFile, found: Sequence[str], needed: Sequence[str], other: InputFile | None
) -> None:
    """Checks that a file has the columns.

    Args:
        file: The file.
        found: The columns it has.
        needed: Those it must have.
        other: A file that has them, for the message.

    Raises:
        DataError: It lacks one.
    """
    there = frozenset(found)
    missing = [name for name in needed if name not in there]
    if not missing:
        return
    close = difflib.get_close_matches(missing[0], found, n=3, cutoff=0.6)
    guess = f"Did you mean {' or '.join(repr(name) for name in close)}? " if close else ""
    listed = ", ".join(found[:40]) + (f" ... ({len(found)} in all)" if len(found) > 40 else "")
    others = f" (and {', '.join(map(repr, missing[1:6]))})" if len(missing) > 1 else ""
    has = f", which {other.path.name} has" if other else ""
    raise DataError(
        f"there is no column {missing[0]!r}{others}{has}",
        where=str(file.path),
        hint=f"{guess}The columns found: {listed}.",
    )


def _read(
    file: InputFile, source: Source, columns: Container[str] | None, ragged: Ragged
) -> Iterator[pa.RecordBatch]:
    if file.format == "csv":
        return csv_reader.batches(file.path, source.data, columns, ragged)
    if file.format == "arrow":
        return arrow_reader.batches(file.path, columns)
    if file.format == "parquet":
        return parquet_reader.batches(file.path, columns)
    if file.format == "images":
        return image_folder.batches(file.path, columns)
    return tfrecord_reader.batches(file.path, columns)


def _log_unused(found: Sequence[str], source: Source) -> None:
    unused = [name for name in found if name not in source.types]
    if unused:
        listed = ", ".join(unused[:100]) + (", ..." if len(unused) > 100 else "")
        _log.info("columns that the config does not use are left out: %s", listed)


def _type_family(data_type: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_dictionary(data_type):
        return _type_family(data_type.value_type)
    if pa.types.is_list(data_type) or pa.types.is_large_list(data_type):
        return _type_family(data_type.value_type)
    if pa.types.is_null(data_type):
        return _NOTHING
    if pa.types.is_boolean(data_type):
        return "booleans"
    if pa.types.is_temporal(data_type):
        return "dates"
    is_number = (
        pa.types.is_integer(data_type)
        or pa.types.is_floating(data_type)
        or pa.types.is_decimal(data_type)
    )
    return "numbers" if is_number else "text"
