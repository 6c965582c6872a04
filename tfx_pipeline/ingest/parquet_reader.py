"""Reads a Parquet file as record batches, with the file's own types."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest.files import named_once, unreadable

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

BATCH_ROWS = 65536
_BATCH_BYTES = 64 << 20  # Rows may hold images.


def column_names(path: Path) -> list[str]:
    """The names of the top-level columns.

    Raises:
        DataError: The file is unreadable or is no Parquet, or has a name twice.
    """
    return named_once(_open(path).schema_arrow.names, path)


def batches(path: Path, columns: Container[str] | None) -> Iterator[pa.RecordBatch]:
    """Yields the rows.

    Args:
        path: The file.
        columns: Columns that are read; None: all.

    Raises:
        DataError: The file is unreadable, is no Parquet, or is damaged.
    """
    import pyarrow as pa

    file = _open(path)
    found = file.schema_arrow.names
    kept = [name for name in found if columns is None or name in columns]
    try:
        for batch in file.iter_batches(
            _rows_a_batch(file), columns=None if columns is None else kept
        ):
            yield batch.select(kept)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError(
            f"the Parquet file is damaged: {error}", where=str(path), hint="Write it again."
        ) from error


def _open(path: Path) -> parquet.ParquetFile:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"the file is no Parquet: {str(error).splitlines()[0]}",
            where=str(path),
            hint="Set `data.format` to what it is.",
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


def _rows_a_batch(file: parquet.ParquetFile) -> int:
    about = file.metadata
    size = sum(about.row_group(index).total_byte_size for index in range(about.num_row_groups))
    return max(1, min(BATCH_ROWS, about.num_rows * _BATCH_BYTES // max(size, 1)))
