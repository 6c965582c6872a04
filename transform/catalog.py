"""A file with one row for each class of a label: the catalog of a recommender."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns' names and the rows of a CSV file (UTF-8, with a header); a text file is one
    column without a name.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is not UTF-8, has no rows, or a row has other columns than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix != ".csv":
                lines = [line.strip() for line in file]
                return [""], [{"": line} for line in lines if line]
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or [])
            rows: list[dict[str, str]] = []
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(f"line {reader.line_num} has not {len(columns)} columns")
                rows.append(row)
            return columns, rows
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except csv.Error as error:
        raise ValueError(f"it is no CSV file: {error}") from None


def id_column(columns: Sequence[str], label: str) -> str:
    """The column that holds the ids: the one of the label's name, else the first."""
    return label if label in columns else columns[0]


def read_ids(path: Path, label: str) -> list[str]:
    """The ids in the file's order; arguments and errors as in `read_table` and `id_column`."""
    columns, rows = read_table(path)
    if not rows:
        raise ValueError("it has no rows")
    return [row[id_column(columns, label)] for row in rows]
