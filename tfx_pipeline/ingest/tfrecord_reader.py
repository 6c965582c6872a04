"""Reads a TFRecord file of tf.Examples as record batches of list columns."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest.files import readable

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_EXAMPLES = 16384
_BATCH_BYTES = 64 << 20  # Examples may hold images.


def batches(path: Path, columns: Container[str] | None) -> Iterator[pa.RecordBatch]:
    """Yields the rows; every column is a large list of float32, int64 or large_binary.

    A feature that no example of a batch has is not in that batch.

    Args:
        path: The file, plain or gzip (told by its first bytes).
        columns: Features that are kept; None: all.

    Raises:
        DataError: The file is damaged, or its records are no tf.Examples.
    """
    import tensorflow as tf
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    with readable(path), path.open("rb") as stream:
        compression = "GZIP" if stream.read(2) == b"\x1f\x8b" else ""
    options = tf.io.TFRecordOptions(compression_type=compression)
    records = tf.compat.v1.io.tf_record_iterator(str(path), options)
    decoder = ExamplesToRecordBatchDecoder()
    read = 0
    try:
        while block := _block(records):
            batch = decoder.DecodeBatch(block)
            read += len(block)
            names = batch.schema.names
            yield batch.select([name for name in names if columns is None or name in columns])
    except tf.errors.OpError as error:
        raise DataError(
            f"the TFRecord file is damaged after record {read}: {error.message}",
            where=str(path),
            hint="Write the file again; compare its size with the original.",
        ) from error
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"records {read} to {read + len(block)} are no tf.Examples with one type a feature: "
            f"{str(error).splitlines()[0]}",
            where=str(path),
            hint="TFRecord input holds serialized tf.Example messages.",
        ) from error


def _block(records: Iterator[bytes]) -> list[bytes]:
    """The next records: so many, or so many bytes."""
    block: list[bytes] = []
    size = 0
    for record in itertools.islice(records, BATCH_EXAMPLES):
        block.append(record)
        size += len(record)
        if size >= _BATCH_BYTES:
            break
    return block
