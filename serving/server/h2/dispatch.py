"""Calls the handlers: on the event loop those that are cheap, in threads those that may block."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from serving.server.answers import Answer
from serving.server.calls import Call, Handler, NotHere
from serving.server.h2.messages import decompressed
from serving.server.h2.streams import Method, Stream
from serving.server.status import Code, RequestError

if TYPE_CHECKING:
    from serving.server.h2.requests import Requests

logger = logging.getLogger("assay.serving")

Outcome: TypeAlias = "bytes | RequestError | None"
"""The answer, or why there is none; None: nobody waits for it any more."""

NOT_HERE = RequestError(Code.UNAVAILABLE, "to be handled in a thread")
"""An outcome that is none yet."""

LATER = RequestError(Code.UNAVAILABLE, "to be handled when its client has read more")
"""An outcome that is none yet."""


class Part(bytes):
    """An outcome that is one message of a stream, with others to follow."""


_SMALL_ANSWER_BYTES = 4096
_SMALL_REQUEST_BYTES = 64 * 1024  # reading a larger one would hold up the loop


class Dispatcher:
    """The handlers and the threads that run them, for all connections of a server.

    A handler with the attribute `inline = True` (or a `functools.partial` of one) is called on the
    event loop's thread, with `Call.later`: right for what takes tens of microseconds and never
    waits, such as a lookup, or parsing a small request and putting it in a batch whose `Answer` it
    returns. It may raise `NotHere`. All else runs in one of `threads` threads: that costs some
    30 µs more (two changes of threads), and can block nobody else's connection. A returned
    `Answer` frees its thread at once. Large requests always go to a thread, and so do compressed
    ones, as small ones can become large.

    A client that goes away does not cancel an `Answer`: others may share the batch. Its result is
    dropped. That of a stream is its own, and is cancelled.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        threads: int,
        message_bytes: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.methods = {name: _method(handler) for name, handler in handlers.items()}
        self._threads = threads
        self._message_bytes = message_bytes
        self._loop = loop
        self._jobs: SimpleQueue[Stream | None] = SimpleQueue()
        self._workers: list[threading.Thread] = []
        self._finished: deque[tuple[Stream, Outcome]] = deque()
        self._woken = False
        self._later: list[Callable[[], None]] = []
        self._fresh: list[Stream] = []  # whose deadlines have no timer yet
        self._loop_thread = 0
        self._owners: set[Requests] | None = None  # whose requests end with this turn
        self._turn_ends = False
        self._lock = threading.Lock()

    def start(self, stream: Stream) -> None:
        """Has a request handled; `Requests.complete` is called with its outcome.

        Runs on the event loop's thread, as `complete` does, which may come before this returns.
        """
        assert stream.method is not None
        stream.running = True
        if stream.method.inline and not stream.compressed and _is_small(stream.request):
            outcome = self._call(stream, on_loop=True)
            if isinstance(outcome, Answer):
                outcome.add_done_callback(partial(self._on_done, stream))  # streams are not inline
                return
            if outcome is not NOT_HERE:
                stream.requests.complete(stream, outcome)
                return
        if len(self._workers) < self._threads:  # as many as are asked for, once there is use
            name = f"h2-{len(self._workers)}"
            worker = threading.Thread(target=self._work, name=name, daemon=True)
            self._workers.append(worker)
            worker.start()
        self._jobs.put(stream)

    def answer_now(self, stream: Stream, message: bytes) -> bytes:
        """One message of a method that answers each.

        Raises:
            RequestError: What the handler raised.
        """
        stream.request = message
        outcome = self._call(stream)
        if isinstance(outcome, RequestError):
            raise outcome
        if not isinstance(outcome, bytes):
            raise _internal()
        return outcome

    def stop(self, timeout_s: float) -> None:
        """Ends the threads; one that is still in a handler after `timeout_s` is left alone."""
        for _ in self._workers:
            self._jobs.put(None)
        until = time.monotonic() + timeout_s
        for worker in self._workers:
            worker.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while (stream := self._jobs.get()) is not None:
            outcome = LATER if stream.requests.is_full() else self._call(stream)
            if isinstance(outcome, Answer):
                outcome.add_done_callback(partial(self._on_done, stream))
            else:
                self._give_back(stream, outcome)
            del stream, outcome  # or they would live until the next request

    def _call(self, stream: Stream, *, on_loop: bool = False) -> Outcome | Answer[bytes]:
        request = stream.request
        if request is None or stream.method is None:
            return None  # reset, or past its deadline, while it waited
        stream.request = None
        try:
            if stream.compressed:
                request = decompressed(request, stream.head.encoding, self._message_bytes)
            call = Call(stream.deadline_s, stream.head.request_id)
            if on_loop:
                call.later = self._call_later
            if not stream.method.streams:
                return stream.method.handler(request, call)
            call.send = lambda message: self._give_back(stream, Part(message))
            return self._streamed(stream, stream.method.handler(request, call))
        except RequestError as error:
            return error
        except NotHere:
            stream.request = request
            return NOT_HERE
        except Exception:  # noqa: BLE001  # logged there
            return _internal()

    def _streamed(self, stream: Stream, outcome: bytes | Answer[bytes]) -> bytes | Answer[bytes]:
        if isinstance(outcome, Answer):
            stream.future = outcome
            if stream.done:  # while the handler began
                outcome.cancel()
        return outcome

    def watch(self, stream: Stream) -> None:
        """Sees to it that a stream with a deadline ends by then. On the event loop's thread."""
        self._fresh.append(stream)
        self._end_turn_soon()

    def _call_later(self, function: Callable[[], None]) -> None:
        """`Call.later`."""
        self._later.append(function)
        self._end_turn_soon()

    def _end_turn_soon(self) -> None:
        if not self._turn_ends:
            self._turn_ends = True
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        """The loop has called back for all that it had found to read."""
        self._turn_ends = False
        if self._later:
            functions, self._later = self._later, []
            self._loop_thread = threading.get_ident()
            owners: set[Requests] = set()
            self._owners = owners
            for function in functions:
                try:
                    function()
                except Exception:  # the others, and the timers below, are to come all the same
                    logger.exception("what was left to the end of a turn failed")
            self._owners = None
            for requests in owners:
                requests.flush()
        fresh, self._fresh = self._fresh, []
        for stream in fresh:  # most are done by now, and need no timer
            if not stream.done:
                stream.requests.arm_timer(stream)

    def _on_done(self, stream: Stream, future: Answer[bytes]) -> None:
        gone = stream.done and future.cancelled()
        outcome = None if gone else _outcome(future)
        if self._owners is not None and threading.get_ident() == self._loop_thread:
            stream.requests.complete(stream, outcome)
            self._owners.add(stream.requests)
        else:
            self._give_back(stream, outcome)

    def _give_back(self, stream: Stream, outcome: Outcome) -> None:
        """From any thread. Many outcomes that come together wake the loop once."""
        self._count(stream, outcome, 1)
        self._finished.append((stream, outcome))
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._collect)
            except RuntimeError:  # the loop is closed: the server has stopped without waiting
                logger.debug("an answer came after the server had stopped")

    def _collect(self) -> None:
        self._woken = False  # first: what is appended from here on wakes again
        owners = set()
        while self._finished:
            stream, outcome = self._finished.popleft()
            self._count(stream, outcome, -1)
            if isinstance(outcome, Part):
                stream.requests.send_part(stream, outcome)
            else:
                stream.requests.complete(stream, outcome)
            owners.add(stream.requests)
        for requests in owners:
            requests.flush()

    def _count(self, stream: Stream, outcome: Outcome, sign: int) -> None:
        """Threads may finish many large answers before the loop sees the first."""
        if isinstance(outcome, bytes) and len(outcome) > _SMALL_ANSWER_BYTES:
            with self._lock:
                stream.requests.uncollected += sign * len(outcome)


def _is_small(request: bytes | None) -> bool:
    return request is not None and len(request) <= _SMALL_REQUEST_BYTES


def _method(handler: Handler) -> Method:
    function = getattr(handler, "func", handler)

    def marked(name: str) -> bool:
        return bool(getattr(handler, name, False) or getattr(function, name, False))

    return Method(handler, marked("inline"), marked("each_message"), marked("streams"))


def _outcome(future: Answer[bytes]) -> Outcome:
    try:
        return future.result()
    except RequestError as error:
        return error
    except BaseException:  # noqa: BLE001  # logged there; CancelledError among them
        return _internal()


def _internal() -> RequestError:
    """Call it where the exception is handled: it goes to the log."""
    logger.exception("a request failed for a reason that is the server's")
    return RequestError(Code.INTERNAL, "internal error; the server's log has the cause")
