"""TFRecord files that are rotated by size and age, and stay readable when a disk is full."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

_FRAME_BYTES = 16  # of each record: its length and two checksums
_NUMBERS = itertools.count()


class RecordFiles:
    """Files `<prefix>-<UTC time>-<process>-<number>`. For one thread.

    Args:
        prefix: Path and beginning of the files' names; its folder is made.
        max_bytes: A file that has reached this size is closed.
        max_age_s: A file is closed this long after it was opened.
    """

    def __init__(self, prefix: str, max_bytes: int, max_age_s: float) -> None:
        self._prefix = prefix
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._writer: tf.io.TFRecordWriter | None = None
        self._path = Path()
        self._bytes = 0  # of complete records in the open file
        self._opened_s = 0.0

    def write(self, records: Sequence[bytes]) -> None:
        """Appends records; they are in the file when this returns.

        Raises:
            OSError: They could not all be written. None of them is in the file then, and its end is
                whole; the next write opens another.
        """
        try:
            writer = self._writer or self._open()
            for record in records:
                writer.write(record)
            writer.flush()
        except tf.errors.OpError as error:
            self._give_up()
            raise OSError(error.message) from error
        except OSError:
            self._give_up()
            raise
        self._bytes += sum(len(record) + _FRAME_BYTES for record in records)
        if self._bytes >= self._max_bytes or self.age_left_s() == 0:
            self.close()

    def age_left_s(self) -> float | None:
        """How long the open file may still grow; 0: it is old; None: no file is open."""
        if self._writer is None:
            return None
        return max(0.0, self._opened_s + self._max_age_s - time.monotonic())

    def close(self) -> None:
        """Closes the open file, if there is one; the next write opens another."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _open(self) -> tf.io.TFRecordWriter:
        name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}-{next(_NUMBERS):05}"
        self._path = Path(f"{self._prefix}-{name}")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._bytes = 0
        self._opened_s = time.monotonic()
        self._writer = tf.io.TFRecordWriter(str(self._path))
        return self._writer

    def _give_up(self) -> None:
        """Closes the file and cuts off what was written of records that did not fit."""
        with contextlib.suppress(tf.errors.OpError):  # it is the same fault
            self.close()
        with contextlib.suppress(OSError):  # the folder is gone, and the file with it
            if self._bytes:
                os.truncate(self._path, self._bytes)
            else:
                self._path.unlink(missing_ok=True)
