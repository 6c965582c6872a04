"""What is wrong with the data: faults collected over all rows, told in one error of one screen."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest import csv_scan, image_folder
from tfx_pipeline.ingest.faults import BadValues
from tfx_pipeline.ingest.files import SPLITS, InputFile
from tfx_pipeline.ingest.multilabel import OUTSIDE, memberships
from tfx_pipeline.ingest.source import Source
from transform.config import LabelConfig

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_SHOWN = 5  # Faults told at once; more do not fit on a screen.


@dataclass(frozen=True)
class _Fault:
    file: InputFile
    column: str
    bad: BadValues  # Its row counts from the file's start.


@dataclass
class Faults:
    """Faults found so far; the first of each (column, problem) keeps its place in the data.

    Attributes:
        source: What is read.
    """

    source: Source
    found: dict[tuple[str, str], _Fault] = field(default_factory=dict)

    def add(
        self, file: InputFile, first_row: int, column: str, faults: Sequence[BadValues]
    ) -> None:
        """Notes faults of a chunk whose first row is `first_row` of the file."""
        for bad in faults:
            key = (column, bad.problem)
            if key in self.found:
                first = self.found[key]
                total = first.bad.count + bad.count
                self.found[key] = replace(first, bad=replace(first.bad, count=total))
            else:
                self.found[key] = _Fault(file, column, replace(bad, row=first_row + bad.row))

    def raise_any(self, files: Sequence[InputFile]) -> None:
        """Raises what was found.

        Raises:
            DataError: Names file, line, column, value and count of the first fault, and up to
                four others.
        """
        if not self.found:
            return
        first, *others = list(self.found.values())[:_SHOWN]
        hint = first.bad.hint
        before = files[: files.index(first.file)]
        if before and first.bad.problem == "is not a number":
            hint += f" In {before[0].path.name} the column holds numbers."
        for fault in others:
            hint += f"\nAlso {self._place(fault)}: {_headline(fault.bad)}."
        if len(self.found) > _SHOWN:
            hint += f"\nAnd {len(self.found) - _SHOWN} more."
        raise DataError(_headline(first.bad), where=self._place(first), hint=hint)

    def _place(self, fault: _Fault) -> str:
        path, row = fault.file.path, fault.bad.row
        if fault.file.format == "images":
            return str(image_folder.images(path)[row])
        if fault.file.format == "csv":
            at = f"line {csv_scan.line_of_row(path, row, self.source.data)}"
        else:
            at = f"{'row' if fault.file.format == 'parquet' else 'record'} {row + 1}"
        return f"{path}, {at}, column {fault.column!r}"


@dataclass
class LabelCount:
    """Counts of the label's values in each split.

    Attributes:
        label: What the label is.
        counts: For each split, how often each class occurs (of a number: up to two values; of a
            multilabel: rows with the class).
        rows: Rows in each split.
    """

    label: LabelConfig
    counts: list[Counter[object]] = field(default_factory=lambda: [Counter() for _ in SPLITS])
    rows: list[int] = field(default_factory=lambda: [0] * len(SPLITS))

    def add(self, columns: dict[str, pa.Array], splits: np.ndarray) -> tuple[str, list[BadValues]]:
        """Counts the labels of N rows.

        Args:
            columns: Typed lists of length N; the label's column and the one it is compared with.
            splits: int8 [N].

        Returns:
            Rows without a label, or with one that cannot be, and the column at fault.
        """
        for split in range(len(SPLITS)):
            self.rows[split] += int((splits == split).sum())
        if self.label.task == "multilabel":
            return self.label.column, self._add_several(columns[self.label.column], splits)
        needed = [self.label.column, *([self.label.of] if self.label.of else [])]
        for name in needed:
            if faults := _not_one_value(columns[name], name, self.label):
                return name, faults
        if not self.label.is_number:
            return self.label.column, self._add_classes(columns[self.label.column], splits)
        values = columns[self.label.column].flatten().to_numpy(zero_copy_only=False)
        if self.label.above is not None:
            of = columns[self.label.of].flatten().to_numpy() if self.label.of else 1.0
            values = values > self.label.above * of
        for split, counter in enumerate(self.counts):
            distinct, counts = np.unique(values[splits == split], return_counts=True)
            if self.label.is_value and len(counter) + len(distinct) > 2:
                distinct, counts = distinct[:2], counts[:2]  # Only whether it varies matters.
            counter.update(dict(zip(distinct.tolist(), counts.tolist(), strict=True)))
        return "", []

    def _add_classes(self, lists: pa.Array, splits: np.ndarray) -> list[BadValues]:
        """Counts classes; returns the rows with an unknown one."""
        encoded = lists.flatten().dictionary_encode()
        distinct: list[bytes] = encoded.dictionary.to_pylist()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        if faults := _outside_classes(distinct, codes, self.label):
            return faults
        for split, counter in enumerate(self.counts):
            counts = np.bincount(codes[splits == split], minlength=len(distinct)).tolist()
            counter.update({name: n for name, n in zip(distinct, counts, strict=True) if n})
        return []

    def _add_several(self, cells: pa.Array, splits: np.ndarray) -> list[BadValues]:
        """Counts the rows that have each class of a multilabel; returns those with an unknown
        one."""
        found = memberships(cells, self.label)
        classes = self.label.classes
        rows, ids = np.divmod(np.unique(found.rows * len(classes) + found.classes), len(classes))
        for split, counter in enumerate(self.counts):
            counts = np.bincount(ids[splits[rows] == split], minlength=len(classes)).tolist()
            counter.update({name: n for name, n in zip(classes, counts, strict=True) if n})
        return found.faults

    def check(self, source: Source) -> None:
        """Checks all rows together.

        Raises:
            DataError: A label that never varies, in the data or in a split that needs both; or a
                split without rows.
        """
        if self.label.task == "multilabel":
            self._check_several(source)
            return
        everywhere: Counter[object] = sum(self.counts, Counter())
        where = f"{', '.join(source.paths[:3])}, column {self.label.column!r}"
        if len(everywhere) == 1:
            raise DataError(
                f"the label is {_name(next(iter(everywhere)))} in all {sum(self.rows)} rows",
                where=where,
                hint="A model needs rows of each class: check `data.label` and the data.",
            )
        self._check_split_sizes(source, where)
        for split in ("train", "eval"):
            counter = self.counts[SPLITS.index(split)]
            if len(counter) == 1 and self.label.has_classes:
                raise DataError(
                    f"the label is {_name(next(iter(counter)))} in all {counter.total()} rows of "
                    f"the split {split!r}",
                    where=where,
                    hint="Both classes must be in train and eval: add rows or change `data.split`.",
                )

    def _check_several(self, source: Source) -> None:
        """Of a multilabel: some class must tell rows apart, in train and in eval as well."""
        where = f"{', '.join(source.paths[:3])}, column {self.label.column!r}"
        everywhere: Counter[object] = sum(self.counts, Counter())
        if not _telling(everywhere, sum(self.rows)):
            all_rows = f"all {sum(self.rows)} rows"
            raise DataError(
                f"the label is {self.label.separator.join(map(str, everywhere))!r} in {all_rows}"
                if everywhere
                else f"the label has no class in {all_rows}",
                where=where,
                hint="A model needs rows with a class and rows without it: check `data.label` "
                "(separator, classes) and the data.",
            )
        self._check_split_sizes(source, where)
        for split in ("train", "eval"):
            index = SPLITS.index(split)
            told = _telling(self.counts[index], self.rows[index])
            if not told:
                raise DataError(
                    f"each class of the label is in all {self.rows[index]} rows of the split "
                    f"{split!r}, or in none",
                    where=where,
                    hint="Rows with a class and rows without it must be in train and eval: add "
                    "rows or change `data.split`.",
                )
            if untold := [name for name in self.label.classes if name not in told]:
                log.warning(
                    "%d of %d classes are in all rows of the split %r, or in none (%s): %s",
                    len(untold),
                    len(self.label.classes),
                    split,
                    ", ".join(map(repr, untold[:10])) + (", ..." if len(untold) > 10 else ""),
                    "they cannot be learned"
                    if split == "train"
                    else "macro_auc is the mean of the others'",
                )

    def _check_split_sizes(self, source: Source, where: str) -> None:
        split = source.data.split
        needed = {"train", "eval"}
        if split.has_val:
            needed.add("val")
        sizes = dict(zip(SPLITS, self.rows, strict=True))
        empty = [name for name in SPLITS if name in needed and not sizes[name]]
        if empty:
            told = ", ".join(f"{name} {rows}" for name, rows in sizes.items())
            raise DataError(
                f"no row falls into the split {' or '.join(empty)} ({told})",
                where=where,
                hint="Add rows, or change `data.split`: eval_fraction, val_fraction (0: no val), "
                "key or column.",
            )


def _telling(counter: Counter[object], rows: int) -> set[object]:
    """The classes that some of the rows have, and some have not."""
    return {name for name, count in counter.items() if count < rows}


def _not_one_value(lists: pa.Array, name: str, label: LabelConfig) -> list[BadValues]:
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    missing, several = np.flatnonzero(lengths == 0), np.flatnonzero(lengths > 1)
    faults = []
    what = "the label" if name == label.column else f"{name!r}, which the label is compared with,"
    if len(missing):
        faults.append(
            BadValues(
                int(missing[0]),
                "",
                f"{what} is missing",
                "Drop rows without a label, or fill it in; they can teach and test nothing.",
                len(missing),
                missing,
            )
        )
    if len(several):
        shown = str(lists[int(several[0])].as_py())[:60]
        hint = "Write one label a row."
        faults.append(
            BadValues(int(several[0]), shown, "is more than one label", hint, len(several), several)
        )
    return faults


def _outside_classes(
    distinct: list[bytes], codes: np.ndarray, label: LabelConfig
) -> list[BadValues]:
    """The rows whose value, `distinct[codes]` (int [N]), is no class."""
    classes = label.classes
    names = {name.encode() for name in classes}
    unknown = [value.decode(errors="backslashreplace") for value in distinct if value not in names]
    if not unknown:
        return []
    rows = np.flatnonzero(np.array([value not in names for value in distinct])[codes])
    first = distinct[codes[rows[0]]].decode(errors="backslashreplace")
    hint = f"`data.label.classes` has: {', '.join(repr(name) for name in classes[:20])}. "
    if first.strip() in classes:
        hint += "Set `data.strip_spaces: true`: the value has spaces around it."
    else:
        others = sorted({*unknown} - {first})
        also = f" and {', '.join(map(repr, others[:5]))}" if others else ""
        hint += f"Add {first!r}{also} there, or to `data.missing_values` and drop the rows."
    return [BadValues(int(rows[0]), first, OUTSIDE, hint, len(rows), rows)]


def _headline(bad: BadValues) -> str:
    if bad.problem.endswith("is missing"):
        return bad.problem + (f" in {bad.count} rows" if bad.count > 1 else "")
    others = f" ({bad.count} such values)" if bad.count > 1 else ""
    return f"{bad.value!r} {bad.problem}{others}"


def _name(value: object) -> str:
    return repr(value.decode(errors="replace") if isinstance(value, bytes) else value)
