"""What a transport and a request handler agree on: bytes in, bytes out, and a deadline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from serving.server.answers import Answer


@dataclass(slots=True)
class Call:
    """What is known of a request beside its bytes.

    Attributes:
        deadline_s: When the client stops waiting, in `time.monotonic()` seconds; None: never.
        request_id: The client's `x-request-id`, for the log; empty: it sent none.
        entrypoint: How it came.
        model_name: Which model it asks for, once the handler has read it.
        send: Sends a message before the one that the handler answers with, from any thread; None:
            the method has one answer.
        later: Where the handler runs on an event loop, which it may not hold up: has a function
            called there, once the requests that came along have been begun. None: it runs in a
            thread of its own.
    """

    deadline_s: float | None = None
    request_id: str = ""
    entrypoint: Literal["GRPC", "REST"] = "GRPC"
    model_name: str = ""
    send: Callable[[bytes], None] | None = None
    later: Callable[[Callable[[], None]], None] | None = None


class NotHere(Exception):
    """Raise in a handler with `Call.later` where the request may take long: it is called again,
    in a thread."""


Handler: TypeAlias = Callable[[bytes, Call], "bytes | Answer[bytes]"]
"""Answers one request: the response's bytes, or a future of them where the request waits for others
(a batch). Raises `RequestError`, or sets it on the future, for any status but OK. May be called
from any thread.

With the attribute `inline = True` it may be called on an event loop; `Call.later` says so.

With the attribute `streams = True` it is given `Call.send`, and returns a future that ends the
stream; the transport cancels the future when the client has gone."""
