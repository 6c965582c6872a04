"""One HTTP/2 connection: what its frames mean, and how it ends (RFC 9113, 5 to 7)."""

from __future__ import annotations

import asyncio
import random
import ssl
from typing import cast

from serving.server.h2 import frames
from serving.server.h2.dispatch import Dispatcher
from serving.server.h2.frames import ConnectionFault, Reason, StreamFault
from serving.server.h2.heads import MAX_HEAD_BYTES, HeadReader
from serving.server.h2.intake import MAX_FRAME_BYTES, Intake
from serving.server.h2.outbox import HIGH_WATER_BYTES
from serving.server.h2.requests import Requests
from serving.server.h2.streams import Limits, Stream

STREAM_WINDOW = 4 * 2**20
CONNECTION_WINDOW = 16 * 2**20

_LAST_STREAM = 2**31 - 1
_DRAIN_PING = b"draining"
_KEEPALIVE_PING = b"keepaliv"
_DRAIN_PING_S = 1.0  # for a client to answer, where its connection has got old


class Connection(asyncio.Protocol):
    """One client. All of it runs on the event loop's thread; `flush` ends each turn."""

    def __init__(
        self, dispatcher: Dispatcher, limits: Limits, connections: set[Connection]
    ) -> None:
        self._dispatcher = dispatcher
        self._limits = limits
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._heads: HeadReader | None = None
        self._unacknowledged = 0  # bytes that the connection's inbound window lacks
        self._drained_from: float | None = None  # its age, not the server, ended it
        self._draining = self._closing = self._reading_paused = False
        self._refuse_above = _LAST_STREAM
        self._since = self._last_read = self._loop.time()
        self._began = self._busy = self._since
        self._seen_id = 0
        self._age_s = limits.age_s * random.uniform(0.9, 1.1)  # or all would come back at once
        self._pinged: float | None = None
        self._stalled: float | None = None

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._requests = Requests(self._dispatcher, self._limits, self._transport, self.flush)
        self._outbox = self._requests.outbox
        self._intake = Intake(self, self._requests, self._limits)
        session: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if session is not None and session.selected_alpn_protocol() != "h2":
            self._closing = True
            transport.close()
            return
        self._connections.add(self)
        self._transport.set_write_buffer_limits(HIGH_WATER_BYTES)
        ours = {
            frames.MAX_CONCURRENT_STREAMS: self._limits.concurrent_streams,
            frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            frames.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
            frames.MAX_HEADER_LIST_SIZE: MAX_HEAD_BYTES,
        }
        self._outbox.put(frames.settings(ours))
        self._outbox.put(frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW))
        self._outbox.flush()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._last_read = self._loop.time()
        self._pinged = None
        try:
            self._intake.feed(data)
        except ConnectionFault as fault:
            self.close(fault.reason, fault.detail)
            return
        self.flush()
        # It sends what wants answers (PING), and reads none.
        if (
            not self._closing
            and self._outbox.paused
            and (self._transport.get_write_buffer_size() > 4 * HIGH_WATER_BYTES)
        ):
            self._reading_paused = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._outbox.paused = True

    def resume_writing(self) -> None:
        self._outbox.paused = False
        self._outbox.progressed = True
        if self._closing:
            return
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        self._outbox.pump()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._connections.discard(self)
        self._requests.give_up_all()

    def flush(self) -> None:
        """Sends what gathered, and does what had to wait for that."""
        if self._closing:
            return
        if self._requests.deferred:
            self._requests.resume()
        self._outbox.flush()
        if self._draining and not self._requests.streams and self._refuse_above < _LAST_STREAM:
            self._closing = True
            self._transport.close()

    # Ends.

    def close(self, reason: Reason, detail: str = "") -> None:
        """Says why, and closes at once."""
        if self._closing:
            return
        self._outbox.put(frames.goaway(self._intake.last_id, reason, detail))
        self._outbox.flush()
        self._closing = True
        self._since = self._loop.time()
        self._transport.close()

    def abort(self) -> None:
        """Closes without a word."""
        self._closing = True
        self._transport.abort()

    def drain(self) -> None:
        """Takes no new requests, finishes those that run, and closes.

        In two steps, so that a request on its way is not lost: GOAWAY with the highest stream, a
        PING; with its answer the last stream that counts is known, and a second GOAWAY tells it.
        """
        if self._closing or self._draining:
            return
        self._draining = True
        if not self._intake.ready:
            self.close(Reason.NO_ERROR)
            return
        self._outbox.put(frames.goaway(_LAST_STREAM, Reason.NO_ERROR))
        self._outbox.put(frames.frame(frames.PING, 0, 0, _DRAIN_PING))
        self._outbox.flush()

    def end_draining(self) -> None:
        """The second step of `drain`, also when the client does not answer."""
        if self._draining and not self._closing and self._refuse_above == _LAST_STREAM:
            self._refuse_above = self._intake.last_id
            self._outbox.put(frames.goaway(self._refuse_above, Reason.NO_ERROR))
            self.flush()

    def watch(self, now: float) -> None:
        """Called every few seconds: ends what hangs. `now` is the loop's time."""
        limits = self._limits
        if self._closing:
            if now - self._since > limits.keepalive_timeout_s:
                self._transport.abort()
            return
        if not self._intake.ready:
            if now - self._since > limits.handshake_s:
                self.close(Reason.PROTOCOL_ERROR, "no preface came")
            return
        if self._outbox.progressed or not (self._outbox.unsent or self._outbox.paused):
            self._outbox.progressed, self._stalled = False, None
        elif self._stalled is None:
            self._stalled = now
        elif now - self._stalled > limits.stall_s:
            self.abort()
            return
        if self._pinged is not None:
            if now - self._pinged > limits.keepalive_timeout_s:
                self.abort()
        elif now - self._last_read > limits.keepalive_s:
            self._pinged = now
            self._outbox.put(frames.frame(frames.PING, 0, 0, _KEEPALIVE_PING))
            self._outbox.flush()
        self._watch_age(now)

    def _watch_age(self, now: float) -> None:
        if self._requests.streams or self._seen_id != self._intake.last_id:
            self._busy, self._seen_id = now, self._intake.last_id
        if self._draining:
            if self._drained_from is not None and now - self._drained_from > _DRAIN_PING_S:
                self.end_draining()
            if now - self._began > self._age_s + self._limits.age_grace_s:
                self.abort()
        elif now - self._began > self._age_s or now - self._busy > self._limits.idle_s:
            self._drained_from = now
            self.drain()

    # Frames, from the intake.

    def on_headers(self, stream_id: int, block: bytes, ends: bool) -> None:
        """A whole header block: a request, or a request's trailers."""
        if self._heads is None:
            self._heads = HeadReader()
        stream = self._requests.streams.get(stream_id)
        if stream is not None:
            self._read_trailers(stream, self._heads.decode(block), ends)
            return
        if stream_id <= self._intake.last_id:
            self._heads.decode(block)  # it may change the table
            self._requests.check_ended_first(stream_id)
            return
        self._intake.last_id = stream_id
        try:
            head = self._heads.read(block)
        except StreamFault as fault:
            self._requests.reset(stream_id, fault.reason)
            return
        if stream_id > self._refuse_above:
            self._requests.reset(stream_id, Reason.REFUSED_STREAM)
            return
        stream = self._requests.open(stream_id, head)
        if stream is not None:
            stream.half_closed = ends
            self._intake.begin(stream, ends)

    def on_window_update(self, stream_id: int, increment: int) -> None:
        """Credit for the connection, or for a stream."""
        if not stream_id:
            self._outbox.widen(increment)
        elif (stream := self._requests.streams.get(stream_id)) is not None:
            try:
                self._outbox.widen_stream(stream, increment)
            except StreamFault as fault:
                self._requests.reset(stream_id, fault.reason)

    def on_settings(self, values: dict[int, int]) -> None:
        """The client's settings; the windows of its open streams move with them."""
        self._requests.charge_control()
        self._outbox.max_frame = values.get(frames.MAX_FRAME_SIZE, self._outbox.max_frame)
        window = values.get(frames.INITIAL_WINDOW_SIZE, self._outbox.initial_window)
        change, self._outbox.initial_window = window - self._outbox.initial_window, window
        if frames.HEADER_TABLE_SIZE in values:
            self._outbox.shrinks_table = True
        self._outbox.put(frames.frame(frames.SETTINGS, frames.ACK, 0))
        if change:
            for stream in list(self._requests.streams.values()):
                try:
                    self._outbox.widen_stream(stream, change)
                except StreamFault as fault:
                    raise ConnectionFault(fault.reason, fault.detail) from None

    def on_ping(self, payload: bytes, acknowledges: bool) -> None:
        """Answers a PING; or takes the answer to ours."""
        if not acknowledges:
            self._requests.charge_control()
            self._outbox.put(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _DRAIN_PING:
            self.end_draining()

    def on_reset(self, stream_id: int) -> None:
        """The client gives a request up."""
        self._requests.charge_reset()
        stream = self._requests.streams.get(stream_id)
        if stream is not None:
            self._requests.give_up(stream)

    def on_data_of_closed(self, stream_id: int) -> None:
        """DATA for a stream that is none any more."""
        self._requests.charge_control()
        self._requests.check_ended_first(stream_id)

    def credit(self, size: int) -> None:
        """Counts received DATA, and gives the window back when half of it is used.

        Raises:
            ConnectionFault: The client sent more than it may.
        """
        self._unacknowledged += size
        if self._unacknowledged > CONNECTION_WINDOW:
            raise ConnectionFault(Reason.FLOW_CONTROL_ERROR, "more DATA than the window allows")
        if self._unacknowledged >= CONNECTION_WINDOW // 2:
            self._outbox.put(frames.window_update(0, self._unacknowledged))
            self._unacknowledged = 0

    def credit_stream(self, stream: Stream, size: int) -> None:
        """As `credit`, for one stream.

        Raises:
            StreamFault: The client sent more than it may.
        """
        stream.unacknowledged += size
        if stream.unacknowledged > STREAM_WINDOW:
            raise StreamFault(Reason.FLOW_CONTROL_ERROR, "more DATA than the window allows")
        if stream.unacknowledged >= STREAM_WINDOW // 2 and not stream.half_closed:
            self._outbox.put(frames.window_update(stream.id, stream.unacknowledged))
            stream.unacknowledged = 0

    def _read_trailers(self, stream: Stream, fields: list[tuple[bytes, bytes]], ends: bool) -> None:
        if stream.half_closed:
            self._requests.reset(stream.id, Reason.STREAM_CLOSED)
        elif not ends or any(name.startswith(b":") for name, _ in fields):
            self._requests.reset(stream.id, Reason.PROTOCOL_ERROR)
        else:
            self._intake.end(stream)
