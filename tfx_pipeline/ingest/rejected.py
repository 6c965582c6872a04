"""Rows that are left out: told apart in a chunk, written to a file with line and reason."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tfx_pipeline.ingest import csv_scan
from tfx_pipeline.ingest.csv_reader import Ragged
from tfx_pipeline.ingest.faults import BadValues, shown
from tfx_pipeline.ingest.readers import Chunk

if TYPE_CHECKING:
    from tfx_pipeline.ingest.source import Source

REJECTED_FILE = "rejected_rows.jsonl"
_LONGEST = 1000  # Of a value that is written down; it may be an image.


@dataclass(frozen=True)
class Rejected:
    """A row that is left out.

    Attributes:
        path: Its file.
        format: The file's format.
        row: Its index among those that were read, from 0.
        reason: Columns, values and what is wrong with them.
        values: Its columns, as far as they were read, as text.
    """

    path: Path
    format: str
    row: int
    reason: str
    values: dict[str, str | None]


def rejected_rows(
    chunk: Chunk, found: Sequence[tuple[str, BadValues]], limit: int
) -> list[Rejected]:
    """The rows of a chunk that have faults, in their order; at most one more than `limit`."""
    reasons: dict[int, list[str]] = {}
    for column, bad in found:
        if bad.only_warns:
            continue
        for row in sorted(set(bad.known_rows.tolist()))[: limit + 1]:
            value = _cell(chunk, column, row)
            told = bad.problem if bad.problem.endswith("is missing") else f"{value!r} {bad.problem}"
            reasons.setdefault(row, []).append(f"column {column!r}: {told}")
    return [
        Rejected(
            chunk.file.path,
            chunk.file.format,
            chunk.first_row + row,
            "; ".join(reasons[row]),
            # Where none may be bad, they are counted and nothing more.
            _values(chunk, row) if limit else {},
        )
        for row in sorted(reasons)[: limit + 1]
    ]


def write_rejected(
    folder: Path, rejected: Sequence[Rejected], ragged: Ragged, source: Source
) -> Path | None:
    """Writes `rejected_rows.jsonl`, one row a line: file, line (or record), reason, row.

    Args:
        folder: Where.
        rejected: Rows with bad values.
        ragged: Which files have rows of another width than their header's; they are looked for.
        source: How the files are read.

    Returns:
        The file; None if no row was left out.

    Raises:
        OSError: It cannot be written.
        DataError: A file can no longer be read.
    """
    by_file: dict[Path, list[Rejected]] = {path: [] for path in ragged.rows}
    for row in rejected:
        by_file.setdefault(row.path, []).append(row)
    if not by_file:
        return None
    path = folder / REJECTED_FILE
    with path.open("w", encoding="utf-8") as stream:
        for file, rows in by_file.items():
            if not rows or rows[0].format == "csv":
                _write_lines(stream, file, rows, ragged.rows[file], source)
                continue
            for row in rows:
                _write(stream, file, {"record": row.row + 1}, row.reason, row.values)
    return path


def _write_lines(
    stream: IO[str], path: Path, rows: Sequence[Rejected], ragged: int, source: Source
) -> None:
    """Of a CSV: on which lines they are, and what stands there."""
    names = csv_scan.header(path, source.data)[0]
    reasons = {row.row: row.reason for row in rows}
    left = len(reasons) + ragged
    for record in _until(csv_scan.data_records(path, source.data), left, reasons):
        if record.row is None:
            reason = f"expected {len(names)} fields, found {len(record.fields)}"
            _write(stream, path, {"line": record.line}, reason, record.fields)
        else:
            values = dict(zip(names, record.fields, strict=True))
            _write(stream, path, {"line": record.line}, reasons[record.row], values)


def _until(
    records: Iterator[csv_scan.Record], wanted: int, rows: dict[int, str]
) -> Iterator[csv_scan.Record]:
    for record in records:
        if record.row is None or record.row in rows:
            yield record
            wanted -= 1
            if not wanted:
                return


def _write(
    stream: IO[str],
    path: Path,
    place: dict[str, int],
    reason: str,
    row: dict[str, str | None] | dict[str, str] | list[str],
) -> None:
    content = {"file": str(path), **place, "reason": reason, "row": row}
    stream.write(json.dumps(content, ensure_ascii=False) + "\n")


def _values(chunk: Chunk, row: int) -> dict[str, str | None]:
    if chunk.file.format == "csv":
        return {}  # The file's own line is written.
    names = chunk.rows.schema.names
    return {name: _text(chunk.rows.column(at)[row].as_py()) for at, name in enumerate(names)}


def _cell(chunk: Chunk, column: str, row: int) -> str:
    index = chunk.rows.schema.get_field_index(column)
    if index < 0:
        return ""
    return shown(_text(chunk.rows.column(index)[row].as_py()) or "")


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
