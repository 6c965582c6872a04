"""What a connection sends: within both flow control windows, no faster than its client reads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from serving.server.h2.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEAD,
    HEADERS,
    LARGEST_WINDOW,
    SMALLEST_MAX_FRAME,
    ConnectionFault,
    Reason,
    StreamFault,
    frame,
)
from serving.server.h2.heads import OK_HEAD, OK_TRAILERS
from serving.server.h2.messages import PREFIX, PREFIX_SIZE
from serving.server.h2.streams import Stream

HIGH_WATER_BYTES = 256 * 1024
"""What the transport may hold before answers wait here instead."""

_LARGEST_CHUNK = 64 * 1024  # of one stream, before the next has its turn

_SMALL_HEAD = HEAD.pack(0, len(OK_HEAD), HEADERS, END_HEADERS, 0)[:5]
_SMALL_TRAILERS = HEAD.pack(0, len(OK_TRAILERS), HEADERS, END_HEADERS | END_STREAM, 0)[:5]


class Outbox:
    """Frames on their way out.

    Small frames gather until `flush`: one write for all that one read, or one round of finished
    requests, caused.

    Attributes:
        unsent: Bytes of answers that wait for a window or for the transport.
        initial_window: The client's SETTINGS_INITIAL_WINDOW_SIZE.
        max_frame: The client's SETTINGS_MAX_FRAME_SIZE.
        shrinks_table: The client has set SETTINGS_HEADER_TABLE_SIZE, and must be told (RFC 7541,
            4.2) that our blocks' table fits.
        paused: The transport holds enough.
        progressed: Whether something of what waited was sent; who watches sets it back.
    """

    def __init__(self, transport: asyncio.Transport, on_sent: Callable[[Stream], None]) -> None:
        """`on_sent` is told the stream whose last byte went out."""
        self._transport = transport
        self._on_sent = on_sent
        self._parts: list[bytes] = []
        self._round: deque[Stream] = deque()  # streams whose own window allows more
        self._window = DEFAULT_WINDOW
        self.initial_window = DEFAULT_WINDOW
        self.max_frame = SMALLEST_MAX_FRAME
        self.unsent = 0
        self.shrinks_table = False
        self.paused = False
        self.progressed = False

    def put(self, data: bytes) -> None:
        """Frames without flow control."""
        self._parts.append(data)

    def flush(self) -> None:
        """Hands over to the transport what gathered."""
        parts = self._parts
        if parts:
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
            parts.clear()

    def answer(self, stream: Stream, message: bytes) -> None:
        """Sends head, message and trailers of a request that succeeded."""
        size = len(message) + PREFIX_SIZE
        fits = size <= self._window and size <= stream.send_window and size <= self.max_frame
        if not fits or self.paused or self.shrinks_table or stream.head_sent:
            self.send_message(stream, message)
            self.finish(stream, OK_TRAILERS)
            return
        self._window -= size
        stream_id = stream.id.to_bytes(4)
        self._parts += (
            _SMALL_HEAD,
            stream_id,
            OK_HEAD,
            HEAD.pack(size >> 8, size & 0xFF, DATA, 0, stream.id),
            PREFIX.pack(0, size - PREFIX_SIZE),
            message,
            _SMALL_TRAILERS,
            stream_id,
            OK_TRAILERS,
        )
        self._on_sent(stream)

    def send_head(self, stream: Stream) -> None:
        """Sends the head of an answer whose messages, if any, follow."""
        stream.head_sent = True
        self.put(frame(HEADERS, END_HEADERS, stream.id, self._shrunk() + OK_HEAD))

    def send_message(self, stream: Stream, message: bytes) -> None:
        """Sends a message, after the head if it is the first; `finish` comes later."""
        if not stream.head_sent:
            self.send_head(stream)
        if stream.segments is None:
            stream.segments = deque()
        stream.segments.append(memoryview(PREFIX.pack(0, len(message))))
        if message:
            stream.segments.append(memoryview(message))
        self.unsent += PREFIX_SIZE + len(message)
        self._enqueue(stream)

    def finish(self, stream: Stream, trailers: bytes) -> None:
        """Ends the answer with a block of trailers, once its messages are sent."""
        stream.trailers = trailers
        if stream.segments:
            self.pump()
        else:
            self._send_trailers(stream)

    def drop(self, stream: Stream) -> None:
        """Forgets what a stream had still to send."""
        if stream.segments:
            self.unsent -= sum(map(len, stream.segments))
            stream.segments.clear()

    def widen(self, increment: int) -> None:
        """A WINDOW_UPDATE of the connection.

        Raises:
            ConnectionFault: The window overflows.
        """
        self._window += increment
        if self._window > LARGEST_WINDOW:
            raise ConnectionFault(Reason.FLOW_CONTROL_ERROR, "the connection's window overflows")
        self.pump()

    def widen_stream(self, stream: Stream, increment: int) -> None:
        """A WINDOW_UPDATE of a stream; or a change of SETTINGS, which may narrow it.

        Raises:
            StreamFault: The window overflows.
        """
        stream.send_window += increment
        if stream.send_window > LARGEST_WINDOW:
            raise StreamFault(Reason.FLOW_CONTROL_ERROR, "the stream's window overflows")
        if stream.segments:
            self._enqueue(stream)
            self.pump()

    def pump(self) -> None:
        """Sends of what waits what windows and transport allow, each stream in its turn."""
        if not self._round or self.paused or self._window <= 0:
            return
        while self._round and self._window > 0 and not self.paused:
            stream = self._round.popleft()
            stream.queued = False
            if stream.done or not stream.segments or stream.send_window <= 0:
                continue  # given up, or WINDOW_UPDATE brings it back
            self._send_chunk(stream, stream.segments)
            if stream.segments:
                self._enqueue(stream)
            elif stream.trailers is not None:
                self._send_trailers(stream)
        self.flush()

    def _shrunk(self) -> bytes:
        """What the next header block starts with: our blocks need no table, whatever its size."""
        start = b"\x20" if self.shrinks_table else b""
        self.shrinks_table = False
        return start

    def _enqueue(self, stream: Stream) -> None:
        if not stream.queued and stream.send_window > 0:
            stream.queued = True
            self._round.append(stream)

    def _send_chunk(self, stream: Stream, segments: deque[memoryview]) -> None:
        room = min(self._window, stream.send_window, self.max_frame, _LARGEST_CHUNK)
        views: list[bytes | memoryview] = []
        size = 0
        while segments and size < room:
            segment = segments.popleft()
            part = segment[: room - size]
            views.append(part)
            size += len(part)
            if len(part) < len(segment):
                segments.appendleft(segment[len(part) :])
        self._window -= size
        stream.send_window -= size
        self.unsent -= size
        self.progressed = True
        self.flush()  # what was put before it goes before it
        # Pieces of a large message are not copied: the transport takes views.
        self._transport.writelines([HEAD.pack(size >> 8, size & 0xFF, DATA, 0, stream.id), *views])

    def _send_trailers(self, stream: Stream) -> None:
        assert stream.trailers is not None
        block = self._shrunk() + stream.trailers
        self.put(frame(HEADERS, END_HEADERS | END_STREAM, stream.id, block))
        self._on_sent(stream)
