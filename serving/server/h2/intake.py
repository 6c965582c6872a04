"""Takes what a client sends apart: frames, header blocks over several of them, messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.server.h2 import frames
from serving.server.h2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD,
    HEAD_SIZE,
    HEADERS,
    PADDED,
    PREFACE,
    ConnectionFault,
    Reason,
    StreamFault,
)
from serving.server.h2.messages import PREFIX_SIZE, check_encoding, decompressed, message_size
from serving.server.h2.streams import Limits, Stream
from serving.server.status import Code, RequestError

if TYPE_CHECKING:
    from serving.server.h2.connection import Connection
    from serving.server.h2.requests import Requests

MAX_FRAME_BYTES = 64 * 1024
"""Our SETTINGS_MAX_FRAME_SIZE."""

_EACH_MESSAGE_BYTES = 2**20  # of a stream both ways: these are handled on the event loop
_FIXED_SIZES = {frames.PRIORITY: 5, frames.RST_STREAM: 4, frames.PING: 8, frames.WINDOW_UPDATE: 4}
_ON_STREAMS = (DATA, HEADERS, frames.PRIORITY, frames.RST_STREAM, frames.CONTINUATION)
_ON_CONNECTION = (frames.SETTINGS, frames.PING, frames.GOAWAY)


class Intake:
    """The reading half of a connection; what frames mean is the connection's.

    Attributes:
        ready: The preface and the first SETTINGS have come.
        last_id: The highest stream that the client has opened.
    """

    def __init__(self, connection: Connection, requests: Requests, limits: Limits) -> None:
        self._connection = connection
        self._requests = requests
        self._limits = limits
        self._unread = bytearray()
        self._preface_read = False
        self.ready = False
        self.last_id = 0
        self._block: bytearray | None = None  # of headers whose CONTINUATION is to come
        self._block_stream = self._block_frames = 0
        self._block_ends = False

    def feed(self, data: bytes) -> None:
        """Reads all whole frames; keeps the rest until more comes.

        Raises:
            ConnectionFault: The connection cannot go on.
        """
        unread = self._unread
        if unread:
            unread += data
            used = self._read(unread)
            del unread[:used]
        else:
            used = self._read(data)
            if used < len(data):
                unread += data[used:]

    def _read(self, source: bytes | bytearray) -> int:
        """Bytes used."""
        at, end = 0, len(source)
        if not self._preface_read:
            if source[: len(PREFACE)] != PREFACE[:end]:
                raise ConnectionFault(Reason.PROTOCOL_ERROR, "this is no HTTP/2")
            if end < len(PREFACE):
                return 0
            self._preface_read = True
            at = len(PREFACE)
        unpack = HEAD.unpack_from
        while end - at >= HEAD_SIZE:
            high, low, kind, flags, stream_id = unpack(source, at)
            size = high << 8 | low
            if size > MAX_FRAME_BYTES:
                raise ConnectionFault(Reason.FRAME_SIZE_ERROR, "a frame is too large")
            stop = at + HEAD_SIZE + size
            if stop > end:
                break
            payload = source[at + HEAD_SIZE : stop]
            at = stop
            stream_id &= 0x7FFFFFFF
            if self._block is not None and kind != frames.CONTINUATION:
                raise ConnectionFault(Reason.PROTOCOL_ERROR, "CONTINUATION is missing")
            if kind == DATA and self.ready:
                self._on_data(stream_id, flags, payload)
            elif kind == HEADERS and self.ready:
                self._on_headers(stream_id, flags, payload)
            else:
                self._on_other(kind, flags, stream_id, payload)
        return at

    # Requests.

    def begin(self, stream: Stream, ends: bool) -> None:
        """The head of a request is read."""
        refusal, encoding = stream.head.refusal, stream.head.encoding
        if refusal is not None:
            self._requests.refuse(stream, refusal.code, refusal.message, refusal.http_status)
            return
        if stream.method is None:
            self._requests.refuse(stream, Code.UNIMPLEMENTED, "Method not found!")
            return
        if encoding != "identity":
            try:
                check_encoding(encoding)
            except RequestError as error:
                self._requests.refuse(stream, error.code, error.message)
                return
        if ends:
            self.end(stream)
            return
        # A length that is told must be compared.
        stream.takes_whole = not stream.method.each_message and stream.head.content_length is None

    def end(self, stream: Stream, body: bytes | bytearray = b"") -> None:
        """The client has sent all of a request. `body` is what came at once, else it gathered."""
        stream.half_closed = True
        body = body or stream.body or b""
        stream.body = None
        length = stream.head.content_length
        assert stream.method is not None
        if length is not None and length != stream.received:
            self._requests.reset(stream.id, Reason.PROTOCOL_ERROR)
        elif stream.method.each_message and not body:
            self._requests.end_each(stream)
        elif not body:
            self._refuse(stream, _not_one_message(stream))
        elif len(body) != stream.expected:
            self._refuse(stream, RequestError(Code.INTERNAL, "the message is cut off"))
        else:
            stream.request = bytes(memoryview(body)[PREFIX_SIZE:])
            self._requests.run(stream)

    def _on_data(self, stream_id: int, flags: int, payload: bytes | bytearray) -> None:
        connection, size = self._connection, len(payload)
        connection.credit(size)
        stream = self._requests.streams.get(stream_id)
        if flags == END_STREAM and stream is not None and stream.takes_whole:
            self._take_whole(stream, payload)
            return
        if flags & PADDED:
            payload = frames.without_padding(flags & PADDED, bytes(payload))
        if stream is None:
            self._check_opened(stream_id)
            connection.on_data_of_closed(stream_id)
            return
        ends = bool(flags & END_STREAM)
        try:
            if stream.half_closed:
                raise StreamFault(Reason.STREAM_CLOSED, "DATA after END_STREAM")
            stream.half_closed = ends
            stream.takes_whole = False
            connection.credit_stream(stream, size)
            stream.received += len(payload)
            if not payload and not ends:
                self._requests.charge_control()
            if stream.method is not None and stream.method.each_message:
                self._take_each(stream, payload)
                if ends and not stream.done:
                    self.end(stream)
            else:
                self._take(stream, payload, ends)
        except StreamFault as fault:
            self._requests.reset(stream_id, fault.reason)
        except RequestError as error:
            self._refuse(stream, error)

    def _take_whole(self, stream: Stream, payload: bytes | bytearray) -> None:
        """`_take` for what most requests are: all of it in one frame."""
        size = stream.received = len(payload)
        stream.half_closed = True
        try:
            self._requests.hold(size)
            if size < PREFIX_SIZE:
                self.end(stream, payload)
                return
            expected = PREFIX_SIZE + message_size(payload, self._limits.message_bytes)
        except RequestError as error:
            self._refuse(stream, error)
            return
        if size > expected:
            self._refuse(stream, _not_one_message(stream))
            return
        if size < expected:
            self._refuse(stream, RequestError(Code.INTERNAL, "the message is cut off"))
            return
        stream.compressed = payload[0] == 1
        stream.request = bytes(payload[PREFIX_SIZE:])
        self._requests.run(stream)

    def _take(self, stream: Stream, payload: bytes | bytearray, ends: bool) -> None:
        """DATA of a request with one message."""
        body: bytes | bytearray
        self._requests.hold(len(payload))
        if stream.body is not None:
            stream.body += payload
            body = stream.body
        elif ends:
            body = payload
        else:
            body = stream.body = bytearray(payload)
        if stream.expected < 0 and len(body) >= PREFIX_SIZE:
            stream.expected = PREFIX_SIZE + message_size(body, self._limits.message_bytes)
            stream.compressed = body[0] == 1
        if 0 <= stream.expected < len(body):
            raise _not_one_message(stream)
        if ends:
            self.end(stream, body)

    def _take_each(self, stream: Stream, payload: bytes | bytearray) -> None:
        """DATA of a stream both ways: each whole message is answered."""
        if stream.body is None:
            stream.body = bytearray()
        body = stream.body
        body += payload
        while len(body) >= PREFIX_SIZE:
            size = PREFIX_SIZE + message_size(body, _EACH_MESSAGE_BYTES)
            if len(body) < size:
                return
            message = bytes(body[PREFIX_SIZE:size])
            if body[0]:
                message = decompressed(message, stream.head.encoding, _EACH_MESSAGE_BYTES)
            del body[:size]
            self._requests.answer_each(stream, message)

    def _refuse(self, stream: Stream, error: RequestError) -> None:
        self._requests.refuse(stream, error.code, error.message)

    def _check_opened(self, stream_id: int) -> None:
        if stream_id > self.last_id or not stream_id % 2:
            raise ConnectionFault(Reason.PROTOCOL_ERROR, f"stream {stream_id} is not open")

    # Header blocks.

    def _on_headers(self, stream_id: int, flags: int, payload: bytes | bytearray) -> None:
        if not stream_id % 2:
            raise ConnectionFault(Reason.PROTOCOL_ERROR, "a client's streams have odd numbers")
        block = bytes(payload)
        if flags & (PADDED | frames.HAS_PRIORITY):
            block = frames.without_padding(flags, block)
        if flags & END_HEADERS:
            self._connection.on_headers(stream_id, block, bool(flags & END_STREAM))
            return
        self._block = bytearray(block)
        self._block_stream, self._block_frames = stream_id, 0
        self._block_ends = bool(flags & END_STREAM)

    def _on_continuation(self, stream_id: int, flags: int, payload: bytes | bytearray) -> None:
        if self._block is None or stream_id != self._block_stream:
            raise ConnectionFault(Reason.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._block += payload
        self._block_frames += 1
        limits = self._limits
        too_long = len(self._block) > limits.header_block_bytes
        if too_long or self._block_frames > limits.continuations:
            raise ConnectionFault(Reason.ENHANCE_YOUR_CALM, "headers are too large")
        if flags & END_HEADERS:
            block, self._block = bytes(self._block), None
            self._connection.on_headers(stream_id, block, self._block_ends)

    # All other frames.

    def _on_other(self, kind: int, flags: int, stream_id: int, payload: bytes | bytearray) -> None:
        if not self.ready and (kind != frames.SETTINGS or flags & frames.ACK):
            raise ConnectionFault(Reason.PROTOCOL_ERROR, "the first frame must be SETTINGS")
        if _FIXED_SIZES.get(kind, len(payload)) != len(payload):
            raise ConnectionFault(
                Reason.FRAME_SIZE_ERROR, f"a frame of type {kind} has an odd size"
            )
        if (kind in _ON_STREAMS and not stream_id) or (kind in _ON_CONNECTION and stream_id):
            raise ConnectionFault(Reason.PROTOCOL_ERROR, f"a frame of type {kind} is out of place")
        if kind == frames.WINDOW_UPDATE:
            self._on_window_update(stream_id, int.from_bytes(payload) & frames.LARGEST_WINDOW)
        elif kind == frames.PING:
            self._connection.on_ping(bytes(payload), bool(flags & frames.ACK))
        elif kind == frames.RST_STREAM:
            self._check_opened(stream_id)
            self._connection.on_reset(stream_id)
        elif kind == frames.SETTINGS:
            if not flags & frames.ACK:
                self.ready = True
                self._connection.on_settings(frames.read_settings(bytes(payload)))
            elif payload:
                raise ConnectionFault(Reason.FRAME_SIZE_ERROR, "SETTINGS with ACK and a payload")
        elif kind == frames.CONTINUATION:
            self._on_continuation(stream_id, flags, payload)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(Reason.PROTOCOL_ERROR, "a client pushes nothing")
        else:  # GOAWAY: its requests go on; PRIORITY: deprecated; what we do not know is ignored
            self._requests.charge_control()

    def _on_window_update(self, stream_id: int, increment: int) -> None:
        if stream_id:
            self._check_opened(stream_id)
        if increment:
            self._connection.on_window_update(stream_id, increment)
        elif stream_id:
            self._requests.reset(stream_id, Reason.PROTOCOL_ERROR)
        else:
            raise ConnectionFault(Reason.PROTOCOL_ERROR, "a window grows by 0")


def _not_one_message(stream: Stream) -> RequestError:
    return RequestError(
        Code.UNIMPLEMENTED, f'"{stream.head.path}" requires exactly one request message.'
    )
