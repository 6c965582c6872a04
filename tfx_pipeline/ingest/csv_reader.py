"""Reads a CSV file as batches of text columns.

Every column is read as text and typed by `values`, by the kind that the config declares: types
guessed from the first rows would differ from file to file, and from training to serving.
"""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.config.data import DataConfig
from tfx_pipeline.ingest import csv_scan
from tfx_pipeline.ingest.files import unreadable
from tfx_pipeline.ingest.pace import Pace

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 8 << 20  # Read at once; a row must fit into one block.
_SLOW_ROWS = 32768


@dataclass
class Ragged:
    """Rows with too few fields, or too many, that are left out.

    Attributes:
        limit: How many may be.
        rows: How many there are, by file.
    """

    limit: int = 0
    rows: Counter[Path] = field(default_factory=Counter)

    def take(self, path: Path) -> bool:
        """Counts one; false: it is one too many."""
        if self.rows.total() >= self.limit:
            return False
        self.rows[path] += 1
        return True


def column_names(path: Path, data: DataConfig) -> list[str]:
    """The names of the columns, from the header or from `data.column_names`.

    Raises:
        DataError: The file is empty or unreadable, or has a name twice.
    """
    return csv_scan.header(path, data)[0]


def batches(
    path: Path, data: DataConfig, columns: Container[str] | None, ragged: Ragged
) -> Iterator[pa.RecordBatch]:
    """Yields the rows, every column `string`; an empty field is the empty string.

    Where `data.max_bad_rows` lets rows be bad, columns may be `binary`: of text that was to be
    UTF-8, and is not everywhere.

    Args:
        path: The file, plain or with .gz, .bz2 or .zst.
        data: Delimiter, encoding and the like.
        columns: Columns that are read; None: all.
        ragged: Takes the rows of another width than the header's.

    Raises:
        DataError: Ragged rows, bytes in another encoding, an unclosed quote: with the line.
    """
    names, header_rows = csv_scan.header(path, data)
    kept = [name for name in names if columns is None or name in columns]
    if data.strip_spaces:
        # pyarrow sees no quote after a space; the slow reader does.
        yield from _slow_batches(path, data, names, kept, ragged)
    else:
        yield from _fast_batches(path, data, names, kept, header_rows, ragged)


def _fast_batches(
    path: Path,
    data: DataConfig,
    names: list[str],
    kept: list[str],
    header_rows: int,
    ragged: Ragged,
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from pyarrow import csv

    # Positions as names: the real ones may hold anything, and pyarrow would read the header anew.
    positions = {name: str(index) for index, name in enumerate(names)}
    last = str(len(names) - 1)
    lenient = _is_lenient(data)
    included = [positions[name] for name in kept]
    last_batch = None
    pace = Pace()
    try:
        stream = _WholeLineEnds(pa.input_stream(str(path), compression="detect"), pace)
        reader = csv.open_csv(
            pa.PythonFile(stream, mode="r"),
            csv.ReadOptions(
                column_names=list(positions.values()),
                skip_rows_after_names=header_rows,
                block_size=BLOCK_BYTES,
                encoding=data.encoding,
            ),
            csv.ParseOptions(
                delimiter=data.delimiter,
                newlines_in_values=True,
                invalid_row_handler=lambda _: "skip" if ragged.take(path) else "error",
            ),
            csv.ConvertOptions(
                column_types=dict.fromkeys(
                    positions.values(), pa.binary() if lenient else pa.string()
                ),
                include_columns=list(dict.fromkeys([*included, last])),
            ),
        )
        for batch in pace.keeping(reader):
            last_batch = batch
            yield pa.RecordBatch.from_arrays([batch.column(name) for name in included], kept)
    except OSError as error:
        for _ in csv_scan.records(path, data):
            pass  # Where compression is damaged, this says so better than pyarrow.
        raise unreadable(path, error) from error
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        if not _has_rows(path, data):
            return
        raise csv_scan.explain(path, data, str(error)) from error
    finally:
        pace.end()
    if last_batch is not None and last_batch.num_rows:
        tail = last_batch.column(last)[-1].cast(pa.binary()).as_py()
        # pyarrow takes a quote that is never closed for a field that reaches to the file's end.
        if b"\n" in tail and (fault := csv_scan.unclosed_quote(path, data)):
            raise fault


class _WholeLineEnds(io.RawIOBase):
    r"""Bytes of a stream, of which no part that is read ends between \r and \n: pyarrow 18 loses
    the \n then, where both are inside a quoted value."""

    def __init__(self, stream: pa.NativeFile, pace: Pace) -> None:
        self._stream = stream
        self._pace = pace
        self._held = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none at the end."""
        if not self._pace.goes_on():
            return b""
        content: bytes = self._stream.read(size - len(self._held))
        if not content:
            content, self._held = self._held, b""
            return content
        if self._held:
            content, self._held = self._held + content, b""
        if content.endswith(b"\r"):
            content, self._held = content[:-1], b"\r"
            return content or self.read(size)
        return content


def _slow_batches(
    path: Path, data: DataConfig, names: list[str], kept: list[str], ragged: Ragged
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    wanted = [names.index(name) for name in kept]
    lenient = _is_lenient(data)
    try:
        errors = "surrogateescape" if lenient else "strict"
        rows = (record for _, record in csv_scan.records(path, data, errors))
        if not data.column_names:
            next(rows, None)
        while block := list(itertools.islice(rows, _SLOW_ROWS)):
            if any(len(record) != len(names) and not ragged.take(path) for record in block):
                raise csv_scan.explain(path, data, "ragged rows")
            block = [record for record in block if len(record) == len(names)]
            arrays = [_texts([record[i] for record in block], lenient) for i in wanted]
            yield pa.RecordBatch.from_arrays(arrays, kept)
    except UnicodeDecodeError as error:
        raise csv_scan.explain(path, data, str(error)) from error
    if fault := csv_scan.unclosed_quote(path, data):
        raise fault


def _is_lenient(data: DataConfig) -> bool:
    """Whether bytes that are no UTF-8 make bad rows, and not a bad file."""
    return data.max_bad_rows > 0 and csv_scan.is_utf8(data.encoding)


def _texts(values: list[str], lenient: bool) -> pa.Array:
    """A column of `string`; `lenient`: of `binary`, with the bytes that were no UTF-8."""
    import pyarrow as pa

    if not lenient:
        return pa.array(values, pa.string())
    return pa.array([value.encode(errors="surrogateescape") for value in values], pa.binary())


def _has_rows(path: Path, data: DataConfig) -> bool:
    try:
        first = list(itertools.islice(csv_scan.records(path, data), 2))
    except UnicodeDecodeError:
        return True
    return len(first) + bool(data.column_names) > 1
