"""How a CSV is written: delimiter, spaces, encoding, and whether its first line is a header."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from tfx_pipeline.config.data import DataConfig
from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest.csv_scan import open_text
from tfx_pipeline.ingest.files import InputFile, readable
from transform.config import LabelConfig

_SAMPLE_CHARACTERS = 1 << 18
_DELIMITERS = (",", ";", "\t", "|")


def csv_config(
    files: list[InputFile],
    label: str,
    *,
    delimiter: str | None = None,
    no_header: bool = False,
    column_names: list[str] | None = None,
) -> DataConfig:
    """The `data` section that reads the files, as far as their first lines tell.

    Args:
        files: CSV files; the first is looked at.
        label: Name of the label's column.
        delimiter: The delimiter, if it is known.
        no_header: The first line is data; columns are then named column_1, column_2, ...
        column_names: Names for files without a header.

    Raises:
        DataError: The file is empty, or its first line looks like data and not like names.
    """
    path = files[0].path
    encoding, sample = _sample(path)
    found = delimiter or _delimiter(sample)
    rows = [row for row in csv.reader(sample.splitlines(), delimiter=found) if row][:200]
    if not rows:
        raise DataError("the file is empty", where=str(path), hint="Check how it was made.")
    strip = _has_spaces_after(rows)
    first = [field.strip() for field in rows[0]]
    names = list(column_names or [])
    if not names and no_header:
        names = [f"column_{number}" for number in range(1, len(first) + 1)]
    if names and len(names) != len(first):
        raise DataError(
            f"{len(names)} column names for {len(first)} columns",
            where=f"{path}, line 1",
            hint="Give one name for each column, separated by commas.",
        )
    if not names and label not in first and any(_is_number(field) for field in first):
        raise DataError(
            f"the first line looks like data, not like column names: {','.join(first)[:120]}",
            where=f"{path}, line 1",
            hint="Add a header to the file, or give the names: "
            "`--column-names age,income,...`; or use `--no-header` and name the label "
            f"column_1 to column_{len(first)}.",
        )
    return DataConfig(
        path=[str(file.path) for file in files],
        format="csv",
        delimiter=found,
        encoding=encoding,
        strip_spaces=strip,
        column_names=names,
        label=LabelConfig(column=label, task="regression"),
    )


def _sample(path: Path) -> tuple[str, str]:
    """The encoding, and the first lines. What is no UTF-8 is most often Windows' Latin-1."""
    encoding = "utf-8"
    try:
        with readable(path), open_text(path, "utf-8-sig") as stream:
            sample = stream.read(_SAMPLE_CHARACTERS)
            while stream.read(1 << 20):
                pass  # A byte that is no UTF-8 may come late.
    except UnicodeDecodeError:
        encoding = "cp1252"
        with readable(path), open_text(path, encoding, errors="replace") as stream:
            sample = stream.read(_SAMPLE_CHARACTERS)
    if len(sample) == _SAMPLE_CHARACTERS:
        sample = sample[: sample.rfind("\n") + 1]
    return encoding, sample


def _delimiter(sample: str) -> str:
    """The character that cuts most lines into the same number of fields, more than one."""
    lines = sample.splitlines()[:200]
    best, best_score = ",", 0.0
    for candidate in _DELIMITERS:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=candidate) if row)
        if not widths:
            continue
        width, count = widths.most_common(1)[0]
        score = count / widths.total() * (1 if width > 1 else 0)
        if score > best_score:
            best, best_score = candidate, score
    return best


def _has_spaces_after(rows: list[list[str]]) -> bool:
    fields = [field for row in rows for field in row[1:]]
    return bool(fields) and sum(field.startswith(" ") for field in fields) > 0.9 * len(fields)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
