"""A gRPC connection that does only what a bench needs, at a fraction of a gRPC library's cost.

One request at a time over HTTP/2 (RFC 9113), both flow controls honoured. It asks for a header
table of size 0, so a block of headers always means the same and is decoded once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

import grpc
import hpack

from serving.client.connection import Tls
from serving.client.grpc_channel import target
from serving.client.grpc_codec import GrpcCall
from serving.client.http_pool import tls_context

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_HEADER_TABLE_SIZE, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 1, 4, 5
_LARGEST_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65_535
_LAST_STREAM = 2**30
_NAMES = {str(code.value[0]).encode(): code.name for code in grpc.StatusCode}


class H2Sender:
    """A connection of `senders.Sender`; it is opened again after a failure."""

    def __init__(
        self, address: str, calls: Sequence[GrpcCall], timeout_s: float, tls: Tls | None
    ) -> None:
        self._address = target(address)
        self._context: ssl.SSLContext | None = None
        if tls is not None:
            self._context = tls_context(tls)
            self._context.set_alpn_protocols(["h2"])
        host = self._address.rpartition(":")[0].strip("[]")
        self._name = (tls.server_name if tls else "") or host
        self._head = _request_head(calls[0].method, self._address, tls is not None, timeout_s)
        self._messages = [b"\0" + len(c.request).to_bytes(4, "big") + c.request for c in calls]
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None

    async def send(self, number: int) -> str:
        """Sends one request; returns gRPC's code."""
        loop = asyncio.get_running_loop()
        if self._connection is not None and self._connection.is_done:  # closed while it was idle
            await self.close()
        if self._connection is None:
            try:
                async with asyncio.timeout(self._timeout_s):
                    self._connection = await self._open(loop)
            except TimeoutError:
                return "DEADLINE_EXCEEDED"
            except OSError:
                return "UNAVAILABLE"
        connection = self._connection
        answer = connection.begin(self._head, self._messages[number % len(self._messages)])
        timer = loop.call_later(self._timeout_s, connection.end, "DEADLINE_EXCEEDED", True)
        code = await answer
        timer.cancel()
        if connection.is_done:
            await self.close()
        return code

    async def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.transport.close()
            self._connection = None

    async def _open(self, loop: asyncio.AbstractEventLoop) -> _Connection:
        name = self._name if self._context else None
        if self._address.startswith("unix:"):
            path = self._address.removeprefix("unix:").replace("///", "/", 1)
            _, connection = await loop.create_unix_connection(_Connection, path)
        else:
            host, _, port = self._address.rpartition(":")
            _, connection = await loop.create_connection(
                _Connection, host.strip("[]"), int(port), ssl=self._context, server_hostname=name
            )
        return connection


class _Connection(asyncio.Protocol):
    """The frames of one connection.

    Attributes:
        transport: Its socket.
        is_done: Whether no other request may be sent on it.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.is_done = False
        self._buffer = bytearray()
        self._stream = -1
        self._block = b""
        self._code = ""
        self._known: dict[bytes, str] = {}
        self._frame_size = 16_384
        self._initial_window = _DEFAULT_WINDOW
        self._window = _DEFAULT_WINDOW  # the connection's, for what we send
        self._stream_window = 0
        self._unsent = memoryview(b"")
        self._received = 0
        self._answer: asyncio.Future[str] | None = None

    def begin(self, head: bytes, message: bytes) -> asyncio.Future[str]:
        """Sends a request; the future ends with its code."""
        self._answer = asyncio.get_running_loop().create_future()
        self._stream += 2
        self._code = ""
        self._stream_window = self._initial_window
        self._unsent = memoryview(message)
        frames = [_frame(_HEADERS, _END_HEADERS, self._stream, head), *self._data()]
        self.transport.write(b"".join(frames))
        return self._answer

    def end(self, code: str, is_last: bool) -> None:
        """Ends the request under way with a code."""
        self.is_done = self.is_done or is_last or self._stream > _LAST_STREAM
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(code)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        settings = b"".join(
            number.to_bytes(2, "big") + value.to_bytes(4, "big")
            for number, value in ((_HEADER_TABLE_SIZE, 0), (_INITIAL_WINDOW_SIZE, _LARGEST_WINDOW))
        )
        self.transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, settings))
        self._give_window(_LARGEST_WINDOW - _DEFAULT_WINDOW)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end("UNAVAILABLE", is_last=True)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= 9:
            size = int.from_bytes(buffer[start : start + 3], "big")
            end = start + 9 + size
            if len(buffer) < end:
                break
            stream = int.from_bytes(buffer[start + 5 : start + 9], "big")
            payload = bytes(buffer[start + 9 : end])
            self._take(buffer[start + 3], buffer[start + 4], stream, payload)
            start = end
        del buffer[:start]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._received += len(payload)
            if self._received > _LARGEST_WINDOW // 2:
                self._give_window(self._received)
                self._received = 0
        elif kind in (_HEADERS, _CONTINUATION):
            self._block += _fragment(kind, flags, payload)
            if flags & _END_HEADERS:
                self._code = self._meaning(self._block) or self._code
                self._block = b""
        elif kind == _SETTINGS and not flags & _ACK:
            self._obey(payload)
        elif kind == _PING and not flags & _ACK:
            self.transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE:
            self._widen(stream, int.from_bytes(payload, "big"))
        elif kind == _GOAWAY:
            self.is_done = True
            if int.from_bytes(payload[:4], "big") < self._stream:
                self.end("UNAVAILABLE", is_last=True)
        elif kind == _RST_STREAM and stream == self._stream:
            self.end(self._code or "UNAVAILABLE", is_last=False)
        ends = kind in (_DATA, _HEADERS) and flags & _END_STREAM
        if ends and stream == self._stream:
            self.end(self._code or "UNKNOWN", is_last=False)

    def _meaning(self, block: bytes) -> str:
        """The code that a block of headers states, "" where it states none."""
        if block not in self._known:
            decoder = hpack.Decoder()
            decoder.max_allowed_table_size = 0
            decoder.header_table_size = 0
            headers = dict(decoder.decode(block, raw=True))
            status = headers.get(b"grpc-status")
            http = headers.get(b":status", b"200")
            code = "" if status is None else _NAMES.get(bytes(status), "UNKNOWN")
            self._known[block] = code or ("" if http == b"200" else f"HTTP {http.decode()}")
            if len(self._known) > 1000:  # headers that differ with every answer
                self._known.clear()
                return code
        return self._known[block]

    def _obey(self, settings: bytes) -> None:
        for start in range(0, len(settings), 6):
            number = int.from_bytes(settings[start : start + 2], "big")
            value = int.from_bytes(settings[start + 2 : start + 6], "big")
            if number == _INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._initial_window
                self._initial_window = value
            elif number == _MAX_FRAME_SIZE:
                self._frame_size = value
        self.transport.write(b"".join([_frame(_SETTINGS, _ACK, 0, b""), *self._data()]))

    def _widen(self, stream: int, size: int) -> None:
        if stream == 0:
            self._window += size
        elif stream == self._stream:
            self._stream_window += size
        self.transport.write(b"".join(self._data()))

    def _data(self) -> list[bytes]:
        """As much of the message as both windows allow."""
        frames = []
        while self._unsent:
            size = min(len(self._unsent), self._frame_size, self._window, self._stream_window)
            if size <= 0:
                break
            part, self._unsent = self._unsent[:size], self._unsent[size:]
            flags = 0 if self._unsent else _END_STREAM
            frames.append(_frame(_DATA, flags, self._stream, bytes(part)))
            self._window -= size
            self._stream_window -= size
        return frames

    def _give_window(self, size: int) -> None:
        self.transport.write(_frame(_WINDOW_UPDATE, 0, 0, size.to_bytes(4, "big")))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return b"%b%c%c%b%b" % (
        len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload,
    )  # fmt: skip


def _fragment(kind: int, flags: int, payload: bytes) -> bytes:
    """A frame's part of the header block, without padding and priority."""
    start, end = 0, len(payload)
    if kind == _HEADERS and flags & _PADDED:
        start, end = 1, end - payload[0]
    if kind == _HEADERS and flags & _PRIORITY:
        start += 5
    return payload[start:end]


def _request_head(method: str, authority: str, is_tls: bool, timeout_s: float) -> bytes:
    # "Never indexed", so that the block is the same for every request.
    headers = (
        (":method", "POST"),
        (":scheme", "https" if is_tls else "http"),
        (":path", method),
        (":authority", "localhost" if authority.startswith("unix:") else authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", f"{max(1, int(1000 * timeout_s))}m"),
    )
    return bytes(hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*h) for h in headers]))
