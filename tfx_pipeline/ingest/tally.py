"""`Tally`: what is wrong with the rows, and which labels they have, over all chunks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest import csv_scan
from tfx_pipeline.ingest.checks import Faults, LabelCount
from tfx_pipeline.ingest.csv_reader import Ragged
from tfx_pipeline.ingest.faults import BadValues, too_many
from tfx_pipeline.ingest.files import InputFile
from tfx_pipeline.ingest.rejected import Rejected
from tfx_pipeline.ingest.source import Source

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Findings:
    """What the check of a chunk found.

    Attributes:
        file: The chunk's.
        first_row: Index of its first row in the file, from 0.
        found: What is wrong, its rows counted from the chunk's start.
        rejected: Rows that are left out for it; of too many, only some.
        labels: Counts of the labels of the other rows.
    """

    file: InputFile
    first_row: int
    found: Sequence[tuple[str, BadValues]]
    rejected: Sequence[Rejected]
    labels: LabelCount


@dataclass
class Tally:
    """Takes what each chunk's check found, in the order of the chunks.

    Attributes:
        source: What is read.
        ragged: Rows of a CSV that have another width than its header.
        rejected: Rows that are left out for their values, at most one more than may be.
        odd_values: How many values of each column are used though something is odd with them, by
            the column and what it is.
    """

    source: Source
    ragged: Ragged = field(init=False)
    rejected: list[Rejected] = field(default_factory=list)
    odd_values: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.ragged = Ragged(self.source.data.max_bad_rows)
        self._faults = Faults(self.source)
        self._labels = LabelCount(self.source.data.label)

    @property
    def bad_rows(self) -> int:
        """How many rows are left out so far."""
        return len(self.rejected) + self.ragged.rows.total()

    @property
    def may_be_kept(self) -> bool:
        """Whether no more rows are bad, so far, than may be."""
        return self.bad_rows <= self.source.data.max_bad_rows

    def add(self, chunk: Findings) -> None:
        """Takes the next chunk's."""
        for column, bad in chunk.found:
            if bad.only_warns:
                self.odd_values[column, bad.problem] += bad.count
            else:
                one_place = [replace(bad, rows=None)]
                self._faults.add(chunk.file, chunk.first_row, column, one_place)
        room = self.source.data.max_bad_rows + 1 - len(self.rejected)
        self.rejected += chunk.rejected[:room]
        merge_labels(self._labels, chunk.labels)

    def add_known(self, labels: LabelCount, odd_values: Counter[tuple[str, str]]) -> None:
        """Takes what an earlier run found in rows of which none was bad."""
        merge_labels(self._labels, labels)
        self.odd_values.update(odd_values)

    def check(self, files: Sequence[InputFile]) -> None:
        """Checks all rows together, once all chunks are in.

        Raises:
            DataError: Too many rows are bad, or the labels cannot be.
        """
        self.raise_faults(files)
        self._labels.check(self.source)

    def raise_faults(self, files: Sequence[InputFile]) -> None:
        """Raises what is wrong with the rows so far, if too many are bad.

        Raises:
            DataError: See `Faults.raise_any`.
        """
        for (column, problem), count in self.odd_values.items():
            _log.warning("column %r: %d times a value %s", column, count, problem)
        limit = self.source.data.max_bad_rows
        if not self.may_be_kept:
            try:
                self._faults.raise_any(files)
            except DataError as error:
                if not limit:
                    raise
                hint = too_many(error.hint, limit)
                raise DataError(error.headline, where=error.where, hint=hint) from None
            # No value is at fault, so rows of another width are.
            path: Path = next(iter(self.ragged.rows))
            raise csv_scan.explain(path, self.source.data, "ragged rows")


def merge_labels(labels: LabelCount, more: LabelCount) -> None:
    """Adds counts of other rows to `labels`."""
    label = labels.label
    only_varies = label.is_number and label.above is None
    for split, counts in enumerate(more.counts):
        labels.rows[split] += more.rows[split]
        if not only_varies or len(labels.counts[split]) < 2:
            labels.counts[split].update(counts)
