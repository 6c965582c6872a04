"""`write_splits`: files -> shards of tf.Examples, a folder a split. It imports no TensorFlow."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfx_pipeline.ingest.files import SPLITS, find_files
from tfx_pipeline.ingest.known import SpanRecord, SpanRecords, link_known
from tfx_pipeline.ingest.readers import Seen, check_all, chunks
from tfx_pipeline.ingest.rows import sliced, time_bounds
from tfx_pipeline.ingest.source import Source
from tfx_pipeline.ingest.span_writer import SpanWriter
from tfx_pipeline.ingest.spans import Span, spans_of
from tfx_pipeline.ingest.splits import TimeBounds
from tfx_pipeline.ingest.tally import Tally
from tfx_pipeline.ingest.unchanged import unchanged
from tfx_pipeline.ingest.workers import encoded_chunks, processes_for


@dataclass
class Written:
    """What was written.

    Attributes:
        tally: What was wrong with rows, or odd.
        rows: Rows of each split.
        split_by: Columns whose values decided the splits; none where folders did.
        records: The files, and the spans that need not be read again.
        files: How many files the data are.
        known_files: How many of them were not read, for an earlier run had.
    """

    tally: Tally
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    split_by: set[str] = field(default_factory=set)
    records: SpanRecords = field(default_factory=lambda: SpanRecords(spans={}))
    files: int = 0
    known_files: int = 0

    def add(self, span: Span, record: SpanRecord) -> None:
        """Counts a span."""
        self.files += len(span.files)
        for name, rows in zip(SPLITS, record.rows, strict=True):
            self.rows[name] += rows
        self.split_by.update(record.split_by)
        if span.key and not record.has_bad_rows:
            self.records.spans[span.key] = record


def write_splits(
    source: Source,
    folder: Path,
    *,
    fingerprint: str = "",
    processes: int | None = None,
    earlier: Sequence[Path] = (),
) -> Written:
    """Writes each split that has rows into a folder of its name, below `folder`.

    The rows, their order and the shards are the same for any number of processes, and whatever of
    them was there already.

    Args:
        source: What is read, and how.
        folder: Is made, if need be. After an error what was read has not its final names.
        fingerprint: See `unchanged`.
        processes: How many encode; None: see `processes_for`.
        earlier: Folders of artifacts whose shards are taken where they are what would be written,
            the newest first.

    Raises:
        DataError: The data are missing, change, or are not what the config says.
        StorageError: The folder cannot be written.
        Transient: A process that encodes died.
    """
    files = find_files(source)
    written = Written(Tally(source))
    seen = Seen()
    with unchanged(files, source, fingerprint):
        bounds = time_bounds(files, source)
        spans = spans_of(files, source, bounds)
        for span in spans:
            paths = [str(file.path) for file in span.files]
            written.records.files.update(zip(paths, span.digests, strict=False))
        known = link_known(spans, earlier, folder)
        for span in spans:
            if record := known.get(span.key):
                record.add_to(written.tally)
                seen.rows += sum(record.rows)
                seen.known = seen.known or span.files[0]
                seen.add(span.files[0], record.columns, source.needed_columns)
                written.known_files += len(span.files)
                written.add(span, record)
        fresh = [span for span in spans if span.key not in known]
        writers = [SpanWriter(span, folder, written.tally, alone=len(spans) == 1) for span in fresh]
        try:
            if writers:
                _read(writers, source, bounds, seen, processes)
            else:
                check_all(files, source, source.needed_columns, seen)
            written.tally.check(files)
            for writer in writers:
                written.add(writer.span, writer.finish(seen))
        except BaseException:
            for writer in writers:
                writer.abandon()
            raise
    return written


def _read(
    writers: Sequence[SpanWriter],
    source: Source,
    bounds: TimeBounds | None,
    seen: Seen,
    processes: int | None,
) -> None:
    """Has each writer take the rows of its span."""
    writer_of = {file.path: writer for writer in writers for file in writer.span.files}
    files = [file for writer in writers for file in writer.span.files]
    if processes is None:
        processes = processes_for(files)
    ragged = writers[0].tally.ragged
    read = sliced(chunks(files, source, ragged=ragged, seen=seen), source)
    encoded = encoded_chunks(read, source, bounds, processes)
    by_span = itertools.groupby(encoded, lambda rows: writer_of[rows.findings.file.path])
    for writer, of_span in by_span:
        for rows in of_span:
            writer.add(rows)
        writer.close()
