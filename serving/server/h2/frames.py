"""HTTP/2 frames: their numbers, their errors, and how one is written (RFC 9113, 4 to 7)."""

from __future__ import annotations

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = struct.Struct(">HBBBL")  # length (16 high bits, 8 low bits), type, flags, stream
HEAD_SIZE = HEAD.size

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6

DEFAULT_WINDOW = 65_535  # bytes
LARGEST_WINDOW = 2**31 - 1
SMALLEST_MAX_FRAME, LARGEST_MAX_FRAME = 2**14, 2**24 - 1


class Reason(IntEnum):
    """Why a stream or a connection ends (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFault(Exception):
    """Raise when the peer broke the protocol: the connection says GOAWAY, and closes."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.name}: {detail}")
        self.reason = reason
        self.detail = detail


class StreamFault(Exception):
    """Raise when one request breaks the protocol: its stream is reset, the connection goes on."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.name}: {detail}")
        self.reason = reason
        self.detail = detail


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame; its payload must fit the peer's SETTINGS_MAX_FRAME_SIZE."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    pairs = (struct.pack(">HL", number, value) for number, value in values.items())
    return frame(SETTINGS, 0, 0, b"".join(pairs))


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4))


def rst_stream(stream_id: int, reason: Reason) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, reason.to_bytes(4))


def goaway(last_stream_id: int, reason: Reason, detail: str = "") -> bytes:
    """A GOAWAY frame: streams above `last_stream_id` were not looked at."""
    payload = struct.pack(">LL", last_stream_id, reason) + detail.encode()
    return frame(GOAWAY, 0, 0, payload)


def read_settings(payload: bytes) -> dict[int, int]:
    """The settings of a frame without ACK, checked.

    Raises:
        ConnectionFault: A size or a value is not allowed (section 6.5.2).
    """
    if len(payload) % 6:
        raise ConnectionFault(Reason.FRAME_SIZE_ERROR, "SETTINGS of an odd size")
    values = dict(struct.iter_unpack(">HL", payload))
    if values.get(ENABLE_PUSH, 0) > 1:
        raise ConnectionFault(Reason.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
    if values.get(INITIAL_WINDOW_SIZE, 0) > LARGEST_WINDOW:
        raise ConnectionFault(Reason.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
    max_frame = values.get(MAX_FRAME_SIZE, SMALLEST_MAX_FRAME)
    if not SMALLEST_MAX_FRAME <= max_frame <= LARGEST_MAX_FRAME:
        raise ConnectionFault(Reason.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of bounds")
    return values


def without_padding(flags: int, payload: bytes) -> bytes:
    """The payload of a DATA or HEADERS frame without padding and priority.

    Raises:
        ConnectionFault: The padding is as long as the frame, or the frame is too short.
    """
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(Reason.FRAME_SIZE_ERROR, "a padded frame without its length")
        start, end = 1, end - payload[0]
    if flags & HAS_PRIORITY:
        start += 5
    if start > end:
        if flags & PADDED:
            raise ConnectionFault(Reason.PROTOCOL_ERROR, "more padding than frame")
        raise ConnectionFault(Reason.FRAME_SIZE_ERROR, "HEADERS without its priority fields")
    return payload[start:end]
