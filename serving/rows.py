"""Reads the rows of `assay predict` from CSV, JSON or JSON lines, and guesses kinds of columns."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.client.examples import is_missing
from tfx_pipeline.errors import DataError

Row = dict[str, Any]


@dataclass(frozen=True)
class CsvFormat:
    """How CSV is written. Rows must be read as the rows that the model has learned from were:
    a space before a category makes it an unknown one.

    Attributes:
        delimiter: Between two fields.
        encoding: By its Python name.
        strip_spaces: Whether spaces around fields are dropped.
        missing_values: Texts that mean missing, besides the empty one.
        column_names: Names for files without a header line; a first line that holds these names
            is a header all the same.
        decimal: The decimal mark of numbers.
        thousands: The mark between thousands; empty: none.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    strip_spaces: bool = False
    missing_values: tuple[str, ...] = ()
    column_names: tuple[str, ...] = ()
    decimal: str = "."
    thousands: str = ""


def read_rows(
    source: str, limit: int | None = None, csv_format: CsvFormat = CsvFormat()
) -> list[Row]:
    """Reads rows of column name to value.

    Args:
        source: A path ending in .csv, .json (a list of objects, or one) or .jsonl; `-` reads
            standard input, and tells JSON from CSV by its first character.
        limit: Keep at most this many rows.
        csv_format: How CSV is written.

    Returns:
        The rows; values are text from CSV, JSON's own types otherwise.

    Raises:
        DataError: The file is missing, empty, of another encoding, ragged, or not the JSON
            expected.
    """
    where = "standard input" if source == "-" else source
    suffix = Path(source).suffix.lower()
    is_json = suffix in (".json", ".jsonl", ".ndjson")
    text = _read_text(source, "utf-8" if is_json else csv_format.encoding)
    if suffix in (".jsonl", ".ndjson"):
        rows = _json_lines(text, where)
    elif suffix == ".json" or (source == "-" and text.lstrip()[:1] in ("[", "{")):
        rows = _json(text, where)
    else:
        rows = _csv(text, where, csv_format)
    if not rows:
        raise DataError("no rows to predict", where=where, hint="Give at least one row of data.")
    return rows[:limit]


def plain_numbers(rows: Sequence[Row], kinds: Mapping[str, str], form: CsvFormat) -> list[Row]:
    """Rows with the texts in columns of numbers written as Python reads them.

    Args:
        rows: As read from CSV.
        kinds: Column to `int`, `float` or `bytes`.
        form: How the numbers are written.

    Raises:
        DataError: A text has a decimal point or comma, and is no number in the form: 27.37 where
            the decimal is a comma may be 27 and a bit, or 2,737.
    """
    if form.decimal == "." and not form.thousands:
        return list(rows)
    number = _number_pattern(form)
    numbers = [name for name, kind in kinds.items() if kind in ("int", "float")]
    changed = []
    for index, row in enumerate(rows, start=1):
        row = dict(row)
        for name in numbers:
            text = row.get(name)
            if not isinstance(text, str):
                continue
            text = text.strip()
            if number.fullmatch(text):
                whole = text.replace(form.thousands, "") if form.thousands else text
                row[name] = whole.replace(form.decimal, ".")
            elif text not in form.missing_values and re.search("[.,]", text):
                raise DataError(
                    f"row {index}: {name}: {text!r} is no number with {form.decimal!r} as the "
                    "decimal mark",
                    hint="It is read as the training data were: data.decimal and data.thousands "
                    "in pipeline.yaml.",
                )
        changed.append(row)
    return changed


def _number_pattern(form: CsvFormat) -> re.Pattern[str]:
    decimal, thousands = re.escape(form.decimal), re.escape(form.thousands)
    pattern = rf"[-+]?(\d+({decimal}\d*)?|{decimal}\d+)([eE][-+]?\d+)?"
    if form.thousands:
        pattern += rf"|[-+]?\d{{1,3}}({thousands}\d{{3}})+({decimal}\d*)?"
    return re.compile(pattern)


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


def _read_text(source: str, encoding: str) -> str:
    is_utf8 = codecs.lookup(encoding).name == "utf-8"
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return data.decode("utf-8-sig" if is_utf8 else encoding)
    except OSError as error:
        raise DataError(
            f"cannot read the rows: {error.strerror}",
            where=source,
            hint="Name a CSV, JSON or JSON lines file, or - for standard input.",
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"byte {error.start} is not {'UTF-8' if is_utf8 else encoding}",
            where=source,
            hint="Convert the file, for instance with `iconv -t UTF-8`.",
        ) from error


def _csv(text: str, where: str, form: CsvFormat) -> list[Row]:
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=form.delimiter,
        skipinitialspace=form.strip_spaces,
    )
    header = list(form.column_names)
    rows: list[Row] = []
    for line in reader:
        if not line:
            continue
        values = [value.strip() for value in line] if form.strip_spaces else line
        if not header or (not rows and values == header):
            header = values
            continue
        if len(values) != len(header):
            raise DataError(
                f"the row has {len(values)} values, the header {len(header)} columns",
                where=f"{where}, line {reader.line_num}",
                hint=f"Quote values that contain {form.delimiter!r}.",
            )
        known = ["" if value in form.missing_values else value for value in values]
        rows.append(dict(zip(header, known, strict=True)))
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
