"""Reads a CSV record by record with line numbers: its header, and why pyarrow refused it.

pyarrow reads the data (it is a hundred times faster); it does not say on which line of the file
something is wrong, so this slow reader is used for the header and once an error is known.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tfx_pipeline.config.data import DataConfig
from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest.faults import too_many
from tfx_pipeline.ingest.files import readable

csv.field_size_limit(2**31 - 1)  # Python's default refuses fields over 128 KiB; pyarrow does not.


@dataclass(frozen=True)
class Record:
    """A row of the file.

    Attributes:
        line: On which it starts, from 1.
        fields: Its fields, as text.
        row: Its index among the rows that are read; None: it has too few fields, or too many.
    """

    line: int
    fields: list[str]
    row: int | None


def open_text(path: Path, encoding: str, errors: str = "strict") -> IO[str]:
    """Opens a plain, .gz, .bz2 or .zst file as text, its line ends as they are."""
    if path.suffix == ".zst":
        return io.TextIOWrapper(_open_zstd(path), encoding, errors, newline="")
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding=encoding, errors=errors, newline="")
    if path.suffix == ".bz2":
        return bz2.open(path, "rt", encoding=encoding, errors=errors, newline="")
    return path.open(encoding=encoding, errors=errors, newline="")


def records(
    path: Path, data: DataConfig, errors: str = "strict"
) -> Iterator[tuple[int, list[str]]]:
    """Yields each record with the number of the line it starts on, from 1. Empty lines are skipped.

    Raises:
        UnicodeDecodeError: Bytes that are not in `data.encoding`.
        DataError: The file cannot be read, or its compression is damaged.
    """
    encoding = "utf-8-sig" if is_utf8(data.encoding) else data.encoding
    with readable(path), open_text(path, encoding, errors) as stream:
        reader = csv.reader(
            stream, delimiter=data.delimiter, skipinitialspace=data.strip_spaces, strict=False
        )
        line = 1
        for record in reader:
            if record:
                yield line, [f.strip() for f in record] if data.strip_spaces else record
            line = reader.line_num + 1


def header(path: Path, data: DataConfig) -> tuple[list[str], int]:
    """The names of the columns, and how many rows of the file come before the data.

    Raises:
        DataError: The file is empty, or a column's name is empty or there twice.
    """
    try:
        # What is read with the first line may hold bad rows, which are somebody else's to judge.
        errors = "backslashreplace" if data.max_bad_rows else "strict"
        first = next(records(path, data, errors), None)
    except UnicodeDecodeError as error:
        raise explain(path, data, str(error)) from None
    if first is None:
        raise DataError("the file is empty", where=str(path), hint="Check how it was made.")
    if data.column_names:
        return list(data.column_names), 0
    line, names = first
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"the header has the column {twice[0]!r} twice",
            where=f"{path}, line {line}",
            hint="Rename one. If the file has no header, set `data.column_names`.",
        )
    if "" in names and len(names) > 1:
        # pandas' to_csv writes its index as a first column without a name.
        names = [name or f"unnamed_{i}" for i, name in enumerate(names)]
    return names, line


def data_records(path: Path, data: DataConfig) -> Iterator[Record]:
    """Yields what follows the header, rows of another width than the header's too.

    Raises:
        DataError: As `records`. Bytes that are not in `data.encoding` are shown by their numbers.
    """
    found = records(path, data, "backslashreplace")
    width = len(data.column_names or next(found)[1])
    row = 0
    for line, fields in found:
        is_row = len(fields) == width
        yield Record(line, fields, row if is_row else None)
        row += is_row


def line_of_row(path: Path, row: int, data: DataConfig) -> int:
    """The line on which a row (from 0, neither the header nor ragged rows counted) starts."""
    for record in data_records(path, data):
        if record.row == row:
            return record.line
    raise IndexError(f"{path} has no row {row}")


def explain(path: Path, data: DataConfig, reason: str) -> DataError:
    """The `DataError` for a file that cannot be parsed, or has more bad rows than it may.

    Args:
        path: The file.
        data: How it is read.
        reason: What pyarrow said; used when this reader finds nothing wrong.
    """
    # Bytes that are no UTF-8 are bad rows like others, where rows may be bad.
    is_told = data.max_bad_rows > 0 and is_utf8(data.encoding)
    return (
        (None if is_told else _bad_encoding(path, data))
        or _ragged(path, data)
        or unclosed_quote(path, data)
        or _too_long(path, reason)
        or DataError(
            f"the file cannot be parsed as CSV: {reason}",
            where=str(path),
            hint="Check `data.delimiter` and the quoting in the file.",
        )
    )


def unclosed_quote(path: Path, data: DataConfig) -> DataError | None:
    """The error for a quote that is never closed and so swallows the lines after it."""
    encoding = "utf-8-sig" if is_utf8(data.encoding) else data.encoding
    start = 1
    with readable(path), open_text(path, encoding, "backslashreplace") as stream:
        reader = csv.reader(
            stream, delimiter=data.delimiter, skipinitialspace=data.strip_spaces, strict=True
        )
        while True:
            try:
                next(reader)
            except StopIteration:
                return None
            except csv.Error as error:
                if "unexpected end" not in str(error):
                    return None
                return DataError(
                    "a quote is opened and never closed",
                    where=f"{path}, line {start}",
                    hint='Close it, or write a quote inside a field as "".',
                )
            start = reader.line_num + 1


def _too_long(path: Path, reason: str) -> DataError | None:
    if "straddling" not in reason:
        return None
    return DataError(
        "a row is longer than 8 MB",
        where=str(path),
        hint="Check `data.delimiter` and the line ends; keep large fields in Parquet or TFRecord.",
    )


def _ragged(path: Path, data: DataConfig) -> DataError | None:
    expected, first, count = len(data.column_names) or None, None, 0
    for line, record in records(path, data, "backslashreplace"):
        expected = expected or len(record)
        if len(record) != expected:
            first = first or (line, len(record))
            count += 1
    if first is None:
        return None
    line, found = first
    if quote := unclosed_quote(path, data):
        return quote
    others = f"; {count} lines are like that" if count > 1 else ""
    return DataError(
        f"expected {expected} fields, found {found}{others}",
        where=f"{path}, line {line}",
        hint=too_many(
            f"Quote fields that contain {data.delimiter!r}, or set `data.delimiter`.",
            data.max_bad_rows,
        ),
    )


def _bad_encoding(path: Path, data: DataConfig) -> DataError | None:
    with readable(path), _open_bytes(path) as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode(data.encoding)
            except UnicodeDecodeError as error:
                if not is_utf8(data.encoding):
                    break  # Lines of UTF-16 are not cut at b"\n"; decode the file as a whole.
                near = line[max(0, error.start - 20) : error.end + 10]
                return DataError(
                    f"byte 0x{line[error.start]:02x} is not UTF-8, near {near!r}",
                    where=f"{path}, line {number}",
                    hint="Set `data.encoding` (often latin-1 or cp1252), or convert the file: "
                    f"iconv -f latin1 -t utf-8 {path.name} > utf8_{path.name}",
                )
    try:
        for _ in records(path, data):
            pass
    except UnicodeDecodeError as error:
        return DataError(
            f"byte {error.start} cannot be decoded as {data.encoding}",
            where=str(path),
            hint="Set `data.encoding` to what the file was written in.",
        )
    return None


def is_utf8(encoding: str) -> bool:
    """Whether a text encoding is UTF-8 by any of its names."""
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8")


def _open_bytes(path: Path) -> IO[bytes]:
    if path.suffix == ".zst":
        return _open_zstd(path)
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return bz2.open(path, "rb") if path.suffix == ".bz2" else path.open("rb")


def _open_zstd(path: Path) -> IO[bytes]:
    import pyarrow as pa

    with path.open("rb"):
        pass  # Python says better than pyarrow why a file cannot be opened.
    stream = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
    return io.BufferedReader(stream)  # type: ignore[type-var, return-value]
