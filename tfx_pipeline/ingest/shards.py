"""`ShardWriter`: one split's serialized tf.Examples as numbered gzip TFRecord files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import IO

from tfx_pipeline.errors import StorageError, storage_error
from tfx_pipeline.ingest.tfrecord_writer import Piece, header, joined_crc, trailer

# What the nodes behind share out among processes: a few hundred thousand rows are several shards.
SHARD_ROWS = 50_000


class ShardWriter:
    """Writes pieces into a folder; a shard takes pieces until it has `shard_rows`.

    So where a shard ends depends on the rows alone, not on how many processes make the pieces. The
    folder is made with the first record. Shards get their final names, which say how many there
    are, in `finish`; so the folder should have its own final name only after that.
    """

    def __init__(self, folder: Path, prefix: str = "", shard_rows: int = SHARD_ROWS) -> None:
        """Prepares a writer.

        Args:
            folder: Where.
            prefix: What names begin with, where others write into the folder too.
            shard_rows: When a shard is full.
        """
        self._folder = folder
        self._prefix = prefix
        self._shard_rows = shard_rows
        self._rows = 0
        self._shards: list[Path] = []
        self._stream: IO[bytes] | None = None
        self._rows_of_shard = self._size = self._crc = 0

    def write(self, piece: Piece) -> None:
        """Appends records.

        Raises:
            StorageError: The disk is full, or the folder cannot be written.
        """
        if not piece.rows:
            return
        try:
            if self._stream is None or self._rows_of_shard >= self._shard_rows:
                self._next_shard()
            assert self._stream is not None
            self._stream.write(piece.data)
        except OSError as error:
            raise self._failed(error) from error
        self._crc = joined_crc(self._crc, piece)
        self._size += piece.size
        self._rows += piece.rows
        self._rows_of_shard += piece.rows

    @property
    def rows(self) -> int:
        """Records so far."""
        return self._rows

    def close(self) -> None:
        """Writes what a file ends with; the names are given in `finish`.

        Raises:
            StorageError: As in `write`.
        """
        try:
            self._close()
        except OSError as error:
            raise self._failed(error) from error

    def finish(self) -> list[Path]:
        """Closes the files, gives them their names, and returns these.

        Raises:
            StorageError: As in `write`.
        """
        try:
            self._close()
            names = shard_names(len(self._shards), self._prefix)
            for path, name in zip(self._shards, names, strict=True):
                path.rename(path.with_name(name))
        except OSError as error:
            raise self._failed(error) from error
        return [self._folder / name for name in names]

    def abandon(self) -> None:
        """Closes the files after another error, which is the one to be told."""
        if self._stream is not None:
            with suppress(OSError):
                self._stream.close()
            self._stream = None

    def _next_shard(self) -> None:
        self._close()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._prefix}{len(self._shards):05d}.part"
        self._stream = path.open("wb")
        self._shards.append(path)
        self._rows_of_shard = self._size = self._crc = 0
        self._stream.write(header())

    def _close(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            with stream:
                stream.write(trailer(self._crc, self._size))

    def _failed(self, error: OSError) -> StorageError:
        return storage_error(error, str(self._folder)) or StorageError(
            f"the examples cannot be written: {error.strerror or error}",
            where=str(self._folder),
            hint="Check the disk, then go on with `assay run --resume`.",
        )


def shard_names(count: int, prefix: str = "") -> list[str]:
    """Names of the files of a split, or of a span's share of it."""
    prefix = prefix or "data_tfrecord"
    return [f"{prefix}-{number:05d}-of-{count:05d}.gz" for number in range(count)]
