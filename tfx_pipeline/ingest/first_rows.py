"""`check_first_rows`: the checks of `typed_rows` on a few thousand rows, without TensorFlow."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest import splits
from tfx_pipeline.ingest.csv_reader import Ragged
from tfx_pipeline.ingest.files import InputFile
from tfx_pipeline.ingest.readers import Chunk, chunks, column_names, require_columns
from tfx_pipeline.ingest.rows import check_chunk, sliced
from tfx_pipeline.ingest.source import Source
from tfx_pipeline.ingest.tally import Tally
from tfx_pipeline.ingest.tfrecord_peek import first_rows

ROWS = 5000
_ROWS_OF_IMAGES = 500  # Each is a file to read.
_HEADERS = 20  # Files whose columns are looked at.


def check_first_rows(files: Sequence[InputFile], source: Source, rows: int = ROWS) -> None:
    """Checks that the columns are there, and that the first rows are what the config says.

    Args:
        files: What `find_files` found.
        source: How they are read, typed and split.
        rows: How many are read.

    Raises:
        DataError: The one that `typed_rows` would raise, had the data these rows only.
    """
    for file in files[:_HEADERS]:
        found = column_names(file, source)
        if found is not None:
            other = files[0] if file is not files[0] else None
            require_columns(file, found, source.needed_columns, other)
    tally = Tally(source)
    anywhere = splits.TimeBounds(0.0, 0.0)  # Where a time split cuts takes all rows to know.
    read, is_sample = 0, False
    if files[0].format == "images" or source.path_columns:
        rows = min(rows, _ROWS_OF_IMAGES)
    for chunk in sliced(_chunks(files, source, rows, tally.ragged), source):
        if read >= rows:
            is_sample = True
            break
        some = Chunk(chunk.file, chunk.first_row, chunk.rows.slice(0, rows - read))
        is_sample = some.rows.num_rows < chunk.rows.num_rows
        read += some.rows.num_rows
        checked = check_chunk(some, source, anywhere)
        tally.add(checked.findings)
    try:
        tally.raise_faults(files)
    except DataError as error:
        if not is_sample:
            raise
        hint = f"{error.hint}\nOnly the first {read:,} rows were looked at."
        raise DataError(error.headline, where=error.where, hint=hint) from None


def _chunks(
    files: Sequence[InputFile], source: Source, rows: int, ragged: Ragged
) -> Iterator[Chunk]:
    if files[0].format != "tfrecord":
        yield from chunks(files, source, ragged=ragged)
        return
    batch, is_whole = first_rows(files[0].path, rows)
    if batch.num_rows:
        _require_features(files, batch.schema.names, source, is_whole=is_whole)
        yield Chunk(files[0], 0, batch)


def _require_features(
    files: Sequence[InputFile], found: Sequence[str], source: Source, *, is_whole: bool
) -> None:
    """An example need not have every feature: one that these lack may come later, but not the
    label, and not where another has nearly the same name."""
    needed = source.needed_columns
    if not is_whole or len(files) > 1:
        unused = [name for name in found if name not in needed]
        needed = [
            name
            for name in needed
            if name == source.data.label.column or difflib.get_close_matches(name, unused, 1, 0.6)
        ]
    require_columns(files[0], found, needed, None)
