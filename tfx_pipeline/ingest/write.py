"""`write_splits`: files -> shards of tf.Examples, a folder a split. It imports no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfx_pipeline.ingest.files import SPLITS, find_files
from tfx_pipeline.ingest.readers import chunks
from tfx_pipeline.ingest.rows import sliced, time_bounds
from tfx_pipeline.ingest.shards import ShardWriter
from tfx_pipeline.ingest.source import Source
from tfx_pipeline.ingest.tally import Tally
from tfx_pipeline.ingest.unchanged import unchanged
from tfx_pipeline.ingest.workers import encoded_chunks, processes_for


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        rows: Rows of each split.
        split_by: Columns whose values decided the splits; none where folders did.
        tally: What was wrong with rows, or odd.
    """

    rows: dict[str, int]
    split_by: set[str]
    tally: Tally


def write_splits(
    source: Source, folder: Path, *, fingerprint: str = "", processes: int | None = None
) -> Written:
    """Writes each split that has rows into a folder of its name, below `folder`.

    The rows, their order and the shards are the same for any number of processes.

    Args:
        source: What is read, and how.
        folder: Is made, if need be. After an error it holds shards without their final names.
        fingerprint: See `unchanged`.
        processes: How many encode; None: see `processes_for`.

    Raises:
        DataError: The data are missing, change, or are not what the config says.
        StorageError: The folder cannot be written.
        Transient: A process that encodes died.
    """
    files = find_files(source)
    if processes is None:
        processes = processes_for(files)
    writers = {name: ShardWriter(folder / name) for name in SPLITS}
    split_by: set[str] = set()
    tally = Tally(source)
    try:
        with unchanged(files, source, fingerprint):
            bounds = time_bounds(files, source)
            read = sliced(chunks(files, source, ragged=tally.ragged), source)
            for rows in encoded_chunks(read, source, bounds, processes):
                tally.add(rows.findings)
                if tally.may_be_kept:
                    for name, piece in zip(SPLITS, rows.pieces, strict=True):
                        writers[name].write(piece)
                split_by.update(rows.split_by)
            tally.check(files)
    except BaseException:
        for writer in writers.values():
            writer.abandon()
        raise
    return Written({name: writer.finish() for name, writer in writers.items()}, split_by, tally)
