"""The first examples of a TFRecord file, read without TensorFlow, which takes seconds to import."""

from __future__ import annotations

import gzip
import itertools
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.ingest.files import readable

if TYPE_CHECKING:
    import pyarrow as pa


def first_rows(path: Path, max_rows: int) -> tuple[pa.RecordBatch, bool]:
    """Up to `max_rows` examples as list columns, and whether the file has no more.

    What is damaged ends the rows, and so does what is no tf.Example; a feature of several types is
    left out. The reader of all rows says what is wrong with them.
    """
    import pyarrow as pa

    from serving.client.messages import Example

    features = []
    records = _records(path)
    for record in itertools.islice(records, max_rows):
        try:
            features.append(Example.FromString(record).features.feature)
        except Exception:  # noqa: BLE001  Protobuf's DecodeError, which differs by its backend.
            break
    is_whole = next(records, None) is None
    types = {
        "float_list": pa.float32(),
        "int64_list": pa.int64(),
        "bytes_list": pa.large_binary(),
    }
    columns = {}
    for name in sorted({name for row in features for name in row}):
        kinds = {row[name].WhichOneof("kind") for row in features if name in row} - {None}
        if len(kinds) == 1:
            [kind] = kinds
            values = [
                list(getattr(row[name], kind).value) if name in row else [] for row in features
            ]
            columns[name] = pa.array(values, pa.large_list(types[kind]))
    return pa.RecordBatch.from_pydict(columns), is_whole


def _records(path: Path) -> Iterator[bytes]:
    """Each is its length (8 bytes, little endian), a checksum, the record, a checksum."""
    with readable(path), path.open("rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if is_gzip else raw
        try:
            while len(head := stream.read(12)) == 12:
                (length,) = struct.unpack("<Q", head[:8])
                record = stream.read(min(length, 1 << 30))
                if len(record) < length or len(stream.read(4)) < 4:
                    return
                yield record
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return
