"""Reads the rows of `assay predict` from CSV, JSON or JSON lines, and guesses kinds of columns."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.client.examples import is_missing
from tfx_pipeline.errors import DataError

Row = dict[str, Any]


def read_rows(source: str, limit: int | None = None) -> list[Row]:
    """Reads rows of column name to value.

    Args:
        source: A path ending in .csv, .json (a list of objects, or one) or .jsonl; `-` reads
            standard input, and tells JSON from CSV by its first character.
        limit: Keep at most this many rows.

    Returns:
        The rows; values are text from CSV, JSON's own types otherwise.

    Raises:
        DataError: The file is missing, empty, not UTF-8, ragged, or not the JSON expected.
    """
    text = _read_text(source)
    where = "standard input" if source == "-" else source
    suffix = Path(source).suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        rows = _json_lines(text, where)
    elif suffix == ".json" or (source == "-" and text.lstrip()[:1] in ("[", "{")):
        rows = _json(text, where)
    else:
        rows = _csv(text, where)
    if not rows:
        raise DataError("no rows to predict", where=where, hint="Give at least one row of data.")
    return rows[:limit]


def infer_kinds(rows: Sequence[Row]) -> dict[str, str]:
    """The narrowest kind that holds all values of each column: int, float or bytes.

    Columns that are missing throughout are left out, and so are those with lists.
    """
    kinds: dict[str, str] = {}
    for column in dict.fromkeys(name for row in rows for name in row):
        values = [row[column] for row in rows if not is_missing(row.get(column))]
        if values and not any(isinstance(value, (list, dict)) for value in values):
            kinds[column] = _kind(values)
    return kinds


def _kind(values: list[Any]) -> str:
    for kind, convert in (("int", int), ("float", float)):
        try:
            for value in values:
                if kind == "int" and isinstance(value, float):
                    raise ValueError
                convert(value)
        except (TypeError, ValueError):
            continue
        return kind
    return "bytes"


def _read_text(source: str) -> str:
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"cannot read the rows: {error.strerror}",
            where=source,
            hint="Name a CSV, JSON or JSON lines file, or - for standard input.",
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"byte {error.start} is not UTF-8",
            where=source,
            hint="Convert the file, for instance with `iconv -t UTF-8`.",
        ) from error


def _csv(text: str, where: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""))
    header = next(reader, [])
    rows = []
    for values in reader:
        if not values:
            continue  # a blank line
        if len(values) != len(header):
            raise DataError(
                f"the row has {len(values)} values, the header {len(header)} columns",
                where=f"{where}, line {reader.line_num}",
                hint="Quote values that contain a comma.",
            )
        rows.append(dict(zip(header, values, strict=True)))
    return rows


def _json(text: str, where: str) -> list[Row]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # one object a line, on standard input
            return _json_lines(text, where)
        raise _not_json(error, f"{where}, line {error.lineno}") from error
    return _objects(content if isinstance(content, list) else [content], where)


def _json_lines(text: str, where: str) -> list[Row]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise _not_json(error, f"{where}, line {number}") from error
    return _objects(rows, where)


def _objects(values: list[Any], where: str) -> list[Row]:
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise DataError(
                f"row {number} is {json.dumps(value)[:60]}, not an object",
                where=where,
                hint='Write every row as {"column": value, ...}.',
            )
    return values


def _not_json(error: json.JSONDecodeError, where: str) -> DataError:
    return DataError(
        f"not JSON: {error.msg} at column {error.colno}",
        where=where,
        hint="Check the file with `python -m json.tool`.",
    )
