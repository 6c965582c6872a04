"""The items of a catalog: their ids, and their own features from a CSV file."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfx_pipeline.errors import ConfigError, DataError
from transform.catalog import id_column, read_table


@dataclass(frozen=True)
class Items:
    """What is known of the C items of a catalog, in the order of the label's classes.

    Attributes:
        count: C.
        numbers: float32 [C, m], each column of mean 0 and variance 1; a missing one is 0.
        categories: By column: ids [C] in 0..size-1 (a missing value is one of its own), and size.
    """

    count: int
    numbers: npt.NDArray[np.float32]
    categories: dict[str, tuple[npt.NDArray[np.int64], int]] = field(default_factory=dict)

    @property
    def have_features(self) -> bool:
        """Whether more is known of them than their ids."""
        return bool(self.numbers.shape[1] or self.categories)


def without_features(count: int) -> Items:
    """Items of which only the id is known."""
    return Items(count, np.zeros((count, 0), np.float32))


def read_items(path: Path, classes: Sequence[str], label: str) -> Items:
    """Reads the items' features.

    A column is one of numbers if every value in it is one, or missing (empty).

    Args:
        path: CSV file with a row for each class; further rows are left out.
        classes: The label's classes: the items.
        label: The label's column, whose name that of the ids may have.

    Raises:
        ConfigError: The file cannot be read.
        DataError: It has no row for a class, or two.
    """
    where = f"model.two_tower.items {path}"
    try:
        columns, rows = read_table(path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the items' file cannot be read: {error}",
            where=where,
            hint="Name a CSV file with a header, a column of ids and one for each feature.",
        ) from None
    key = id_column(columns, label) if columns else ""
    by_id: dict[str, dict[str, str]] = {}
    for row in rows:
        if row[key] in by_id:
            raise DataError(
                f"item {row[key]!r} has two rows", where=where, hint="Leave one of them."
            )
        by_id[row[key]] = row
    missing = [name for name in classes if name not in by_id]
    if missing:
        close = difflib.get_close_matches(missing[0], list(by_id), n=1)
        raise DataError(
            f"{len(missing)} of {len(classes)} items have no row, among them {missing[0]!r}",
            where=f"{where}, column {key!r}",
            hint=f"The nearest id there is {close[0]!r}."
            if close
            else "Its ids are those of data.label.classes.",
        )
    texts = {c: [by_id[name][c].strip() for name in classes] for c in columns if c != key}
    numbers = {column: _numbers(values) for column, values in texts.items()}
    scaled = [values for values in numbers.values() if values is not None]
    return Items(
        len(classes),
        np.stack(scaled, axis=1) if scaled else np.zeros((len(classes), 0), np.float32),
        {column: _ids(values) for column, values in texts.items() if numbers[column] is None},
    )


def _numbers(values: Sequence[str]) -> npt.NDArray[np.float32] | None:
    """Numbers of mean 0 and variance 1, or None where a value is not one."""
    try:
        found = np.array([float(value) if value else math.nan for value in values])
    except ValueError:
        return None
    known = found[np.isfinite(found)]
    if not len(known):
        return None
    scaled = (found - known.mean()) / (known.std() or 1.0)
    return np.where(np.isfinite(scaled), scaled, 0.0).astype(np.float32)


def _ids(values: Sequence[str]) -> tuple[npt.NDArray[np.int64], int]:
    vocabulary, ids = np.unique(np.array(values), return_inverse=True)
    return ids.astype(np.int64), len(vocabulary)
