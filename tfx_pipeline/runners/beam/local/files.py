"""TFRecord files of a Beam read and write: by TensorFlow's C++, where Beam's code is Python's."""

from __future__ import annotations

import errno
import glob
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import tensorflow as tf
from apache_beam import coders
from apache_beam.io import filesystems, tfrecordio
from apache_beam.io.filesystem import CompressionTypes
from tensorflow.python.lib.io import _pywrap_record_io

from tfx_pipeline.runners.beam.local.plan import COMPRESSIONS

CHUNK_ROWS = 1000
_CHUNK_BYTES = 16 * 2**20  # Rows may hold images.
_SHARD_ROWS = 250_000
# Level 1 writes several times faster than the default 6, for files about a fifth larger.
_GZIP_LEVEL = 1


def read_chunks(source: Any) -> Iterator[list[Any]]:
    """The elements of a Beam source, up to `CHUNK_ROWS` at once, in an order that stays."""
    files = tfrecord_files(source)
    if files is not None:
        for path, compression in files:
            yield from read_tfrecords(path, compression)
        return
    elements = iter(source.read(source.get_range_tracker(None, None)))
    while chunk := list(itertools.islice(elements, CHUNK_ROWS)):
        yield chunk


def tfrecord_files(source: Any) -> list[tuple[str, str]] | None:
    """The files of a source, sorted, with their compressions; None when they are not all TFRecords
    for TensorFlow to read."""
    if not isinstance(source, tfrecordio._TFRecordSource):
        return None
    if type(source._coder) is not coders.BytesCoder:
        return None
    given = source._compression_type
    [match] = filesystems.FileSystems.match([source._pattern.get()])
    paths = sorted(_absolute(found.path) for found in match.metadata_list)
    files = [(path, _compression(path, given)) for path in paths]
    if any("://" in path or compression is None for path, compression in files):
        return None
    return [(path, compression) for path, compression in files if compression is not None]


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())


def _compression(path: str, given: str) -> str | None:
    """TensorFlow's name of a file's compression; None where it has none."""
    if given == CompressionTypes.AUTO:
        given = CompressionTypes.detect_compression_type(path)
    return COMPRESSIONS.get(given)


def read_tfrecords(path: str, compression: str) -> Iterator[list[bytes]]:
    """A file's records, in chunks of up to `CHUNK_ROWS` and of about 16 MB.

    A loop in Python over TensorFlow's C++ reader is faster than `tf.data`, whose threads have to
    wait for each other, and for each other process that is at work.
    """
    # `tf.compat.v1.io.tf_record_iterator` is this, and a warning that tells of `tf.data`.
    records = _pywrap_record_io.RecordIterator(path, compression)
    chunk: list[bytes] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record)
        if len(chunk) == CHUNK_ROWS or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class RecordFiles:
    """Writes records as `WriteToTFRecord` names its files: `<prefix>-00000-of-00001<suffix>`.

    Each bundle of records starts a file, so that several processes may write bundles at once. The
    files get their names in `finish`, when all are complete.
    """

    def __init__(self, sink: Any) -> None:
        self._prefix = Path(sink.file_path_prefix.get()).absolute()  # As of now, in any process.
        self._suffix = sink.file_name_suffix.get()
        compression = _compression("x" + self._suffix, sink.compression_type)
        assert compression is not None, "the plan takes no sink of another"
        level = _GZIP_LEVEL if compression else None
        self._options = tf.io.TFRecordOptions(compression, compression_level=level)
        # Beside the folder: whoever reads it takes every file inside.
        folder = self._prefix.parent
        self._staging = folder.parent / f".writing-{folder.name}-{self._prefix.name}{self._suffix}"
        self._bundle = 0
        self._rows = 0
        self._of_bundle: list[str] = []
        self._parts: list[str] = []
        self._writer: Any = None

    def clear(self) -> None:
        """Removes all that was written, by whichever process: before all else, since a job may
        have been killed, and after an error. Not while another process writes bundles of these."""
        shutil.rmtree(self._staging, ignore_errors=True)

    def begin(self, bundle: int) -> None:
        """Before the first record of a bundle; its number is no other's of these files."""
        self._bundle, self._rows = bundle, 0

    def write(self, record: bytes) -> None:
        """Appends a record.

        Raises:
            OSError: The disk is full, or the folder cannot be written.
        """
        try:  # No context manager: this is done for each row.
            if self._rows % _SHARD_ROWS == 0:
                self._next()
            self._writer.write(record)
        except tf.errors.OpError as error:
            _raise_os_error(error)
        self._rows += 1

    def take(self) -> list[str]:
        """Completes the bundle; its files, for `merge`, which may be another process's.

        Raises:
            OSError: As in `write`.
        """
        with _os_errors():
            self._close()
        taken, self._of_bundle = self._of_bundle, []
        return taken

    def merge(self, taken: list[str]) -> None:
        """Takes a bundle's files behind those that were taken before."""
        self._parts += taken

    def finish(self) -> list[str]:
        """Gives the files their names, and returns these; one file at least, as Beam does.

        Raises:
            OSError: As in `write`.
        """
        if not self._parts:
            with _os_errors():
                self._next()
            self.merge(self.take())
        self._prefix.parent.mkdir(parents=True, exist_ok=True)
        shards = "-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]"
        mine = glob.escape(self._prefix.name) + shards + glob.escape(self._suffix)
        for old in self._prefix.parent.glob(mine):
            old.unlink()
        names = []
        for number, part in enumerate(self._parts):
            name = f"{self._prefix}-{number:05d}-of-{len(self._parts):05d}{self._suffix}"
            (self._staging / part).rename(name)
            names.append(name)
        self.clear()
        return names

    def abandon(self) -> None:
        """Closes what is open, after another error, which is the one to be told."""
        with suppress(tf.errors.OpError):
            self._close()
        self._of_bundle = []

    def _next(self) -> None:
        self._close()
        self._staging.mkdir(parents=True, exist_ok=True)
        # A process that fails at a bundle may close its file when another has written its own.
        name = f"{self._bundle:05d}-{len(self._of_bundle):05d}-{os.getpid()}"
        self._of_bundle.append(name)
        self._writer = tf.io.TFRecordWriter(str(self._staging / name), self._options)

    def _close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()


@contextmanager
def _os_errors() -> Iterator[None]:
    """TensorFlow's errors of a full or forbidden disk as the `OSError`s that they were."""
    try:
        yield
    except tf.errors.OpError as error:
        _raise_os_error(error)


def _raise_os_error(error: tf.errors.OpError) -> NoReturn:
    text = str(error.message)
    if isinstance(error, tf.errors.ResourceExhaustedError) or "No space left" in text:
        number = errno.EDQUOT if "quota" in text.lower() else errno.ENOSPC
    elif "Read-only file system" in text:
        number = errno.EROFS
    elif isinstance(error, tf.errors.PermissionDeniedError) or "ermission denied" in text:
        number = errno.EACCES
    else:
        raise error
    raise OSError(number, text) from error
