"""Reads an Arrow IPC file or stream (Feather version 2) as record batches, with its own types."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest.files import named_once, unreadable

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 65536
_BATCH_BYTES = 64 << 20  # Rows may hold images.


def column_names(path: Path) -> list[str]:
    """The names of the columns.

    Raises:
        DataError: The file is unreadable or is no Arrow IPC, or has a name twice.
    """
    with _opened(path) as reader:
        return named_once(reader.schema.names, path)


def batches(path: Path, columns: Container[str] | None) -> Iterator[pa.RecordBatch]:
    """Yields the rows. One record batch of the file is in memory at once, as its writer made it.

    Args:
        path: The file.
        columns: Columns that are kept; None: all.

    Raises:
        DataError: The file is unreadable, is no Arrow IPC, or is damaged.
    """
    import pyarrow as pa

    with _opened(path) as reader:
        kept = [name for name in reader.schema.names if columns is None or name in columns]
        try:
            for batch in _all(reader):
                rows = max(1, min(BATCH_ROWS, batch.num_rows * _BATCH_BYTES // (batch.nbytes + 1)))
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows).select(kept)
        except (pa.ArrowException, OSError, EOFError) as error:
            raise DataError(
                f"the Arrow file is damaged: {error}", where=str(path), hint="Write it again."
            ) from error


def _all(reader: pa.RecordBatchFileReader | pa.RecordBatchStreamReader) -> Iterator[pa.RecordBatch]:
    if not hasattr(reader, "num_record_batches"):
        yield from reader
        return
    for index in range(reader.num_record_batches):
        yield reader.get_batch(index)


@contextmanager
def _opened(path: Path) -> Iterator[pa.RecordBatchFileReader | pa.RecordBatchStreamReader]:
    import pyarrow as pa

    try:
        # Not mapped: pages of a mapped file count as memory of the process.
        stream = pa.OSFile(str(path))
    except OSError as error:
        raise unreadable(path, error) from error
    with stream:
        start = stream.read(6)
        stream.seek(0)
        if start.startswith(b"FEA1"):
            raise DataError(
                "this is Feather version 1, which is not read",
                where=str(path),
                hint="Write it anew: `pyarrow.feather.write_feather` makes version 2.",
            )
        try:
            is_file = start == b"ARROW1"
            reader = pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"the file is no Arrow IPC, or is cut: {str(error).splitlines()[0]}",
                where=str(path),
                hint="Write it again, or set `data.format` to what it is.",
            ) from error
        yield reader
