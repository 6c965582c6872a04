"""A request's body from the socket: bounded in bytes, in time, and after decompression."""

from __future__ import annotations

import asyncio
import gzip
import io
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from serving.server.status import invalid_argument

# 100 kB can stand for as much. kMaxUncompressedBytes of the C++ server (gzip_zlib.h) is 10 MiB.
_MAX_DECOMPRESSED_BYTES = 100 * 2**20
_CHUNK_BYTES = 2**20

Receive = Callable[[], Awaitable[dict[str, Any]]]


class BodyRefused(Exception):
    """Raise when a body is too large or too slow.

    The connection is closed after the answer, as the rest of the body is still to come.

    Attributes:
        status: The HTTP status.
        message: For the answer's `error`.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ClientGone(Exception):
    """Raise when the client closed the connection before its request was complete."""


async def read_body(
    receive: Receive, headers: dict[bytes, bytes], max_bytes: int, timeout_s: float
) -> bytes:
    """Reads a whole body, as it was sent.

    Args:
        receive: The ASGI channel.
        headers: The request's headers, names in lower case.
        max_bytes: How large it may be.
        timeout_s: How long all of it may take.

    Raises:
        BodyRefused: It is larger, or takes longer.
        ClientGone: The client went away.
    """
    # Said before a byte is read: the client may be waiting for leave to send (100-continue).
    if int(headers.get(b"content-length", b"0")) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > max_bytes:
                    raise _too_large(max_bytes)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise BodyRefused(408, f"the request's body took more than {timeout_s:g} s") from None


def decoded(body: bytes, headers: dict[bytes, bytes], max_bytes: int) -> bytes:
    """The body without its gzip coding, if it has one.

    Raises:
        BodyRefused: It grows past `max_bytes`, or 100 MiB.
        RequestError: INVALID_ARGUMENT: it says gzip and is not.
    """
    if b"gzip" not in headers.get(b"content-encoding", b"").lower():
        return body
    max_bytes = min(max_bytes, _MAX_DECOMPRESSED_BYTES)
    chunks: list[bytes] = []
    size = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            while chunk := file.read(_CHUNK_BYTES):
                chunks.append(chunk)
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(max_bytes)
    except (OSError, EOFError, zlib.error):
        raise invalid_argument("the request's body is no valid gzip data") from None
    return b"".join(chunks)


def _too_large(max_bytes: int) -> BodyRefused:
    return BodyRefused(413, f"the request's body is larger than {max_bytes} bytes")
