"""What one request is, what bounds a connection, and what a method is."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.server.answers import Answer
from serving.server.calls import Handler
from serving.server.h2.heads import Head

if TYPE_CHECKING:
    from serving.server.h2.requests import Requests


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask of us. The defaults suit one server behind a load balancer.

    Attributes:
        concurrent_streams: Requests of one connection at the same time, announced in SETTINGS. One
            that the client reset counts for as long as its handler runs.
        message_bytes: Largest message, before and after decompression; a larger one is
            RESOURCE_EXHAUSTED as soon as its prefix, or what it decompresses to, tells.
        answer_bytes: Largest answer; a larger one is RESOURCE_EXHAUSTED.
        request_bytes: All messages of one connection's open requests; one that goes beyond is
            RESOURCE_EXHAUSTED.
        unsent_bytes: Answers of one connection that wait for its client to read. Beyond, its next
            requests wait before they are handled.
        handshake_s: Time for TLS, the preface and the first SETTINGS.
        keepalive_s: Silence after which we PING.
        keepalive_timeout_s: Silence after the PING until the connection is taken for dead.
        age_s: Age at which a connection is drained (GOAWAY), give or take a tenth, so that clients
            come back to other servers.
        age_grace_s: How long its requests then have.
        idle_s: Time without requests after which a connection is drained.
        stall_s: Time without progress after which a client that does not read is cut off.
        resets: Streams that a client may reset at once (rapid reset, CVE-2023-44487), or make us
            reset (CVE-2025-8671); then 1 per request that it lets finish, and 30 a second.
        control_frames: PING, SETTINGS and other frames that carry nothing, at once; then 100 a
            second. Each answer that is sent sets it back.
        header_block_bytes: Largest header block, compressed, over all its CONTINUATION frames.
        continuations: Most CONTINUATION frames of one block (CVE-2024-27316).
    """

    concurrent_streams: int = 1000
    message_bytes: int = 512 * 2**20
    answer_bytes: int = 2**32 - 1
    request_bytes: int = 2 * 2**30
    unsent_bytes: int = 64 * 2**20
    handshake_s: float = 20.0
    keepalive_s: float = 300.0
    keepalive_timeout_s: float = 20.0
    age_s: float = math.inf
    age_grace_s: float = math.inf
    idle_s: float = math.inf
    stall_s: float = 120.0
    resets: int = 1000
    control_frames: int = 1000
    header_block_bytes: int = 64 * 1024
    continuations: int = 64


class Allowance:
    """So many at once, and so many more a second."""

    __slots__ = ("_burst", "_left", "_rate", "_seen")

    def __init__(self, burst: int, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._seen = 0.0

    def take(self, now: float) -> bool:
        """Uses one; False: there was none left. `now` is in seconds."""
        if self._left < self._burst:
            self._left = min(self._burst, self._left + (now - self._seen) * self._rate)
        self._seen = now
        self._left -= 1
        return self._left >= 0

    def give(self, count: int = 1) -> None:
        """Gives some back."""
        self._left = min(self._burst, self._left + count)

    def restore(self) -> None:
        """Gives all back."""
        self._left = self._burst


@dataclass(frozen=True, slots=True)
class Method:
    """How a method is called.

    Attributes:
        handler: Answers one message.
        inline: It is cheap, and does not block: it is called on the event loop.
        each_message: A stream both ways: called (on the event loop, and it returns bytes) for each
            message, whose answer is sent at once.
        streams: It may send messages before the one it answers with; see `calls.Handler`. Not
            inline: what it sends is collected in order with what it answers.
    """

    handler: Handler
    inline: bool = False
    each_message: bool = False
    streams: bool = False


class Stream:
    """One request, from its head until its last byte is sent or it is given up."""

    __slots__ = (
        "body",
        "compressed",
        "deadline_s",
        "done",
        "expected",
        "future",
        "half_closed",
        "head",
        "head_sent",
        "id",
        "method",
        "queued",
        "received",
        "request",
        "requests",
        "running",
        "segments",
        "send_window",
        "takes_whole",
        "timer",
        "trailers",
        "unacknowledged",
    )

    def __init__(self, requests: Requests, stream_id: int, head: Head, window: int) -> None:
        self.requests = requests
        self.id = stream_id
        self.head = head
        self.method: Method | None = None
        self.deadline_s: float | None = None  # in time.monotonic()
        self.timer: asyncio.TimerHandle | None = None
        # What came in.
        self.body: bytearray | None = None
        self.expected = -1  # bytes of the message with its prefix; -1: not known yet
        self.compressed = False
        self.received = 0  # bytes of all DATA without padding
        self.takes_whole = False  # nothing came yet, and one frame may be all of a message
        self.unacknowledged = 0  # bytes that the client's window lacks
        self.half_closed = False  # the client has sent its END_STREAM
        self.request: bytes | None = None  # the message, until a handler takes it
        self.running = False  # a handler has it
        self.future: Answer[bytes] | None = None  # of a method that streams
        self.done = False  # nothing more will be sent
        # What goes out.
        self.send_window = window
        self.head_sent = False
        self.segments: deque[memoryview] | None = None  # what the windows held back
        self.trailers: bytes | None = None  # sent after the segments
        self.queued = False  # in the outbox's round
