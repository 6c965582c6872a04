"""Records -> pieces of a gzip TFRecord file, which any process can make and one puts together.

Without TensorFlow, which takes seconds to import: a worker process starts in less than one. The
format is that of tensorflow/core/lib/io/record_writer.h: length (8 bytes, little endian), its
masked CRC-32C, the record, its masked CRC-32C.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c
import numpy as np

# Level 1 writes several times faster than the default 6; TFX's readers take nothing but gzip.
LEVEL = 1
_BLOCK = 2048  # Records that are framed at once, so that they are still in the processor's cache.
# No name, no time: the same rows are the same bytes. 255: on no known system.
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
_LAST_BLOCK = b"\x03\x00"  # Deflate's shortest: a last block with nothing in it.


@dataclass(frozen=True)
class Piece:
    """Records that follow each other in a file.

    Attributes:
        rows: How many.
        data: Raw deflate that ends at a byte, and is not the last of its stream.
        size: Bytes before compression.
        crc: CRC-32 of these bytes.
    """

    rows: int
    data: bytes
    size: int
    crc: int


def make_piece(records: Sequence[bytes]) -> Piece:
    """Frames and compresses records."""
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts, size, crc = [], 0, 0
    for start in range(0, len(records), _BLOCK):
        framed = frame(records[start : start + _BLOCK])
        size += len(framed)
        crc = zlib.crc32(framed, crc)
        parts.append(deflate.compress(framed))
    parts.append(deflate.flush(zlib.Z_FULL_FLUSH))
    return Piece(len(records), b"".join(parts), size, crc)


def frame(records: Sequence[bytes]) -> bytes:
    """Records as the bytes of a TFRecord file that is not compressed."""
    parts: list[bytes] = [b""] * (3 * len(records))
    parts[0::3] = map(_head, map(len, records))
    parts[1::3] = records
    sums = np.fromiter(map(google_crc32c.value, records), np.uint32, len(records))
    tails = _masked(sums).astype("<u4").tobytes()
    parts[2::3] = [tails[at : at + 4] for at in range(0, len(tails), 4)]
    return b"".join(parts)


def header() -> bytes:
    """What a gzip file starts with."""
    return _HEADER


def trailer(crc: int, size: int) -> bytes:
    """What it ends with, after its pieces: `crc` and `size` are those of all of them."""
    return _LAST_BLOCK + struct.pack("<II", crc, size & 0xFFFFFFFF)


def joined_crc(crc: int, then: Piece) -> int:
    """CRC-32 of bytes that have `crc`, followed by those of a piece (zlib's `crc32_combine`)."""
    length, power = then.size, 0
    while length:
        if length & 1:
            crc = _times(_zeros(power), crc)
        length, power = length >> 1, power + 1
    return crc ^ then.crc


@functools.lru_cache(4096)
def _head(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    [masked] = _masked(np.array([google_crc32c.value(packed)], np.uint32))
    return packed + struct.pack("<I", masked)


def _masked(sums: np.ndarray) -> np.ndarray:
    """TFRecord's mask over CRCs, uint32 [N]: a CRC of bytes that hold CRCs is a weak one."""
    return ((sums >> np.uint32(15)) | (sums << np.uint32(17))) + np.uint32(0xA282EAD8)


@functools.cache
def _zeros(power: int) -> tuple[int, ...]:
    """What 2**power zero bytes do to a CRC-32: a 32 x 32 matrix over GF(2), by columns."""
    if power:
        half = _zeros(power - 1)
        return tuple(_times(half, column) for column in half)
    matrix = (0xEDB88320, *(1 << bit for bit in range(31)))  # One zero bit.
    for _ in range(3):
        matrix = tuple(_times(matrix, column) for column in matrix)
    return matrix


def _times(matrix: Sequence[int], vector: int) -> int:
    total, column = 0, 0
    while vector:
        if vector & 1:
            total ^= matrix[column]
        vector, column = vector >> 1, column + 1
    return total
