"""The length-prefixed messages of gRPC: five bytes, then the message, compressed or not."""

from __future__ import annotations

import struct
import zlib

from serving.server.h2.heads import ACCEPTED_ENCODINGS
from serving.server.status import Code, RequestError

PREFIX = struct.Struct(">BL")  # compressed or not, size
PREFIX_SIZE = PREFIX.size

_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def message_size(received: bytes | bytearray, limit: int) -> int:
    """The size that a prefix announces, in bytes, without the prefix.

    Args:
        received: At least the prefix.
        limit: Largest message, in bytes.

    Raises:
        RequestError: INTERNAL: the flag is unknown. RESOURCE_EXHAUSTED: it is over the limit.
    """
    flag, size = PREFIX.unpack_from(received)
    if flag > 1:
        raise RequestError(Code.INTERNAL, f"Bad GRPC frame type 0x{flag:02x}")
    if size > limit:
        raise too_large(size, limit)
    return int(size)


def too_large(size: int, limit: int) -> RequestError:
    """The error for a message over the limit; the words are gRPC's."""
    return RequestError(
        Code.RESOURCE_EXHAUSTED, f"Received message larger than max ({size} vs. {limit})"
    )


def check_encoding(encoding: str) -> None:
    """Tells before anything is received whether compressed messages can be read.

    Raises:
        RequestError: UNIMPLEMENTED: the algorithm is none of ours.
    """
    if encoding != "identity" and encoding not in _WINDOW_BITS:
        raise RequestError(
            Code.UNIMPLEMENTED,
            f"Compression algorithm '{encoding}' is not supported; use one of {ACCEPTED_ENCODINGS}",
        )


def decompressed(data: bytes, encoding: str, limit: int) -> bytes:
    """A message whose flag says that it is compressed.

    Args:
        data: The message without its prefix.
        encoding: The request's grpc-encoding, one that `check_encoding` takes.
        limit: Largest size once decompressed, in bytes; no more than this is ever held.

    Raises:
        RequestError: INTERNAL: it is no such data, or no encoding was told. RESOURCE_EXHAUSTED:
            it is over the limit.
    """
    bits = _WINDOW_BITS.get(encoding)
    if bits is None:
        raise RequestError(Code.INTERNAL, "compressed flag set with identity or no grpc-encoding")
    decoder = zlib.decompressobj(bits)
    try:
        message = decoder.decompress(data, limit + 1)
    except zlib.error as error:
        raise RequestError(Code.INTERNAL, f"cannot decompress the message: {error}") from None
    if len(message) > limit:
        raise too_large(len(message), limit)
    if not decoder.eof or decoder.unused_data:
        raise RequestError(Code.INTERNAL, "cannot decompress the message: its end is wrong")
    return message
