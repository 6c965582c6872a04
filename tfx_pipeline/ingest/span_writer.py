"""`SpanWriter`: the shards of one span, in the folders of the splits, and their record."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tfx_pipeline.ingest.checks import LabelCount
from tfx_pipeline.ingest.encode import EncodedRows
from tfx_pipeline.ingest.files import SPLITS
from tfx_pipeline.ingest.known import Shard, SpanRecord, labels_of
from tfx_pipeline.ingest.readers import Seen, join_columns
from tfx_pipeline.ingest.shards import ShardWriter
from tfx_pipeline.ingest.spans import Span
from tfx_pipeline.ingest.tally import Tally, merge_labels


class SpanWriter:
    """Takes the rows of a span, in their order.

    Attributes:
        span: The span.
        tally: What is told of it.
    """

    def __init__(self, span: Span, folder: Path, tally: Tally, *, alone: bool) -> None:
        """Prepares a writer.

        Args:
            span: Whose rows will come.
            folder: Holds a folder for each split.
            tally: Is told what is wrong with the rows; once too many are bad, none is written.
            alone: Whether the data are this one span.
        """
        prefix = "" if alone else span.prefix
        self.span = span
        self.tally = tally
        self._writers = {name: ShardWriter(folder / name, prefix) for name in SPLITS}
        self._split_by: set[str] = set()
        self._labels = LabelCount(tally.source.data.label)
        self._odd: Counter[tuple[str, str]] = Counter()
        self._has_bad_rows = False

    def add(self, rows: EncodedRows) -> None:
        """Writes rows.

        Raises:
            StorageError: The disk is full, or the folder cannot be written.
        """
        self.tally.add(rows.findings)
        merge_labels(self._labels, rows.findings.labels)
        for column, bad in rows.findings.found:
            if bad.only_warns:
                self._odd[column, bad.problem] += bad.count
            else:
                self._has_bad_rows = True
        if self.tally.may_be_kept:
            for name, piece in zip(SPLITS, rows.pieces, strict=True):
                self._writers[name].write(piece)
        self._split_by.update(rows.split_by)

    def close(self) -> None:
        """Closes the shards, after the last row."""
        for writer in self._writers.values():
            writer.close()

    def finish(self, seen: Seen) -> SpanRecord:
        """Gives the shards their names.

        Args:
            seen: What the readers found.
        """
        shards = {
            name: [Shard(name=path.name, size=path.stat().st_size) for path in writer.finish()]
            for name, writer in self._writers.items()
        }
        files = [file.path for file in self.span.files]
        columns: dict[str, str] = {}
        for path in files:
            join_columns(columns, seen.columns.get(path, {}))
        ragged = sum(self.tally.ragged.rows[path] for path in files)
        return SpanRecord(
            shards=shards,
            rows=[writer.rows for writer in self._writers.values()],
            split_by=sorted(self._split_by),
            labels=labels_of(self._labels),
            odd_values=[(column, what, count) for (column, what), count in self._odd.items()],
            columns=columns,
            has_bad_rows=self._has_bad_rows or ragged > 0,
        )

    def abandon(self) -> None:
        """Closes the shards after another error, which is the one to be told."""
        for writer in self._writers.values():
            writer.abandon()
