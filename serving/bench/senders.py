"""Connections that send a bench's requests and say only how each one ended.

Nothing is decoded: the load generator shares the machine with the server more often than not.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

import grpc
import grpc.aio

from serving.client.connection import Connection, Tls
from serving.client.grpc_channel import open_channel
from serving.client.grpc_codec import GrpcCall
from serving.client.http_pool import tls_context
from serving.client.rest_codec import RestCall

OK = "OK"


class Sender(Protocol):
    """One connection."""

    async def send(self, number: int) -> str:
        """Sends the request of that number (they are sent in turn); returns `OK`, or the code of
        the failure."""

    async def close(self) -> None:
        """Closes the connection."""


class GrpcSender:
    """A gRPC connection of its own, as a client of its own would have."""

    def __init__(
        self, address: str, calls: Sequence[GrpcCall], timeout_s: float, tls: Tls | None
    ) -> None:
        self._channel = open_channel(grpc.aio, address, Connection(tls, own_socket=True))
        self._send = self._channel.unary_unary(calls[0].method)
        self._requests = [call.request for call in calls]
        self._timeout_s = timeout_s

    async def send(self, number: int) -> str:
        """Sends one request; returns gRPC's code."""
        request = self._requests[number % len(self._requests)]
        try:
            await self._send(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            return str(error.code().name)
        return OK

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()


class HttpSender:
    """A kept HTTP/1.1 connection, on asyncio's streams."""

    def __init__(
        self, address: str, calls: Sequence[RestCall], timeout_s: float, tls: Tls | None
    ) -> None:
        url = urlsplit(address)
        self._host, self._port = url.hostname or "", url.port
        secure = url.scheme == "https"
        self._port = self._port or (443 if secure else 80)
        self._context: ssl.SSLContext | None = tls_context(tls or Tls()) if secure else None
        self._name = (tls.server_name if tls else "") or self._host
        self._requests = [_request(url.netloc, url.path.rstrip("/"), call) for call in calls]
        self._timeout_s = timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, number: int) -> str:
        """Sends one request; returns `OK`, `HTTP <status>`, or the name of what went wrong."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(self._requests[number % len(self._requests)])
        except TimeoutError:
            code = "DEADLINE_EXCEEDED"
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            code = "UNAVAILABLE" if isinstance(error, (OSError, EOFError)) else "INTERNAL"
        await self.close()
        return code

    async def close(self) -> None:
        """Closes the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, request: bytes) -> str:
        if self._streams is None:
            name = self._name if self._context else None
            self._streams = await asyncio.open_connection(
                self._host, self._port, ssl=self._context, server_hostname=name
            )
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        if b"transfer-encoding: chunked" in head:
            await _skip_chunks(reader)
        else:
            await reader.readexactly(_content_length(head))
        if b"connection: close" in head:
            await self.close()
        return OK if status == 200 else f"HTTP {status}"


def _request(host: str, prefix: str, call: RestCall) -> bytes:
    head = (
        f"POST {prefix}{call.path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(call.body)}\r\n\r\n"
    )
    return head.encode() + call.body


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ValueError("the answer has no length")


async def _skip_chunks(reader: asyncio.StreamReader) -> None:
    while True:
        size = int((await reader.readline()).partition(b";")[0], 16)
        if size == 0:
            break
        await reader.readexactly(size + 2)
    while (await reader.readline()) not in (b"\r\n", b""):
        pass
