"""The requests of one connection: begun, handled, answered or given up; and what they may cost."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from serving.server.h2 import frames
from serving.server.h2.dispatch import LATER, Dispatcher, Outcome
from serving.server.h2.frames import ConnectionFault, Reason
from serving.server.h2.heads import OK_TRAILERS, Head, error_head, error_trailers
from serving.server.h2.outbox import Outbox
from serving.server.h2.streams import Allowance, Limits, Stream
from serving.server.status import Code, RequestError

_REMEMBERED = 1000  # streams that we ended first: their client may send a while longer


class Requests:
    """The open streams of a connection.

    Attributes:
        streams: The requests that are not finished, by stream.
        deferred: Those of them that wait until the client has read more.
        uncollected: Bytes of answers that threads have finished and the loop has not seen; the
            dispatcher keeps it.
        flush: Sends what gathered; it ends each turn of the loop.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        limits: Limits,
        transport: asyncio.Transport,
        flush: Callable[[], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._limits = limits
        self.outbox = Outbox(transport, self._on_sent)
        self.flush = flush
        self._loop = asyncio.get_running_loop()
        self.streams: dict[int, Stream] = {}
        self.uncollected = 0
        self._held = 0  # bytes of messages
        self._abandoned = 0  # handlers that run though their stream is gone
        self._ended_first: dict[int, None] = {}
        self.deferred: deque[Stream] = deque()
        self._resets = Allowance(limits.resets, 30)
        self._control = Allowance(limits.control_frames, 100)

    def open(self, stream_id: int, head: Head) -> Stream | None:
        """A new request; None: there are too many, and it was refused."""
        if len(self.streams) + self._abandoned >= self._limits.concurrent_streams:
            self.reset(stream_id, Reason.REFUSED_STREAM)
            return None
        stream = Stream(self, stream_id, head, self.outbox.initial_window)
        stream.method = self._dispatcher.methods.get(head.path)
        self.streams[stream_id] = stream
        if head.timeout_s is not None:
            stream.deadline_s = time.monotonic() + head.timeout_s
            self._dispatcher.watch(stream)
        return stream

    def hold(self, size: int) -> None:
        """Counts bytes of a message that came; `give_up` takes all of a stream's off again.

        Raises:
            RequestError: RESOURCE_EXHAUSTED: the open requests hold too many.
        """
        self._held += size
        if self._held > self._limits.request_bytes:
            raise RequestError(
                Code.RESOURCE_EXHAUSTED, "the requests of this connection are too large together"
            )

    def resume(self) -> None:
        """Handles requests that had to wait for the client to read."""
        while self.deferred and not self.is_full():
            stream = self.deferred.popleft()
            if not stream.done:
                self._dispatcher.start(stream)

    def arm_timer(self, stream: Stream) -> None:
        """Ends a request at its deadline; the dispatcher calls this where it was not answered
        within its turn."""
        assert stream.deadline_s is not None
        delay = max(0.0, stream.deadline_s - time.monotonic())
        stream.timer = self._loop.call_later(delay, self._on_timer, stream)

    def give_up(self, stream: Stream) -> None:
        """Ends a request without an answer, or after it; a handler that has it runs on."""
        del self.streams[stream.id]
        stream.done = True
        stream.request = stream.body = None
        self.outbox.drop(stream)
        if stream.method is not None and not stream.method.each_message:
            self._held -= stream.received
        if stream.running:
            self._abandoned += 1
        if stream.timer is not None:
            stream.timer.cancel()
            stream.timer = None
        if stream.future is not None:
            stream.future.cancel()

    def give_up_all(self) -> None:
        """The connection is gone."""
        for stream in list(self.streams.values()):
            self.give_up(stream)
        self.deferred.clear()

    def charge_reset(self) -> None:
        """Counts a stream that ended for the client's doing.

        Raises:
            ConnectionFault: They were too many.
        """
        if not self._resets.take(self._loop.time()):
            raise ConnectionFault(Reason.ENHANCE_YOUR_CALM, "too many streams were reset")

    def charge_control(self) -> None:
        """Counts a frame that costs the client next to nothing.

        Raises:
            ConnectionFault: They were too many.
        """
        if not self._control.take(self._loop.time()):
            raise ConnectionFault(Reason.ENHANCE_YOUR_CALM, "too_many_pings")

    def run(self, stream: Stream) -> None:
        """A request is whole: has it handled, unless the client lets answers pile up."""
        if stream.deadline_s is not None and time.monotonic() >= stream.deadline_s:
            self._expire(stream)
        elif self.is_full():
            self.deferred.append(stream)
        else:
            self._dispatcher.start(stream)

    def is_full(self) -> bool:
        """Whether more answers than allowed wait for the client to read. From any thread."""
        return self.outbox.unsent + self.uncollected > self._limits.unsent_bytes

    def answer_each(self, stream: Stream, message: bytes) -> None:
        """One message of a stream both ways.

        Raises:
            RequestError: What the handler raised; or the client reads none of the answers.
        """
        self._send(stream, self._dispatcher.answer_now(stream, message))

    def send_part(self, stream: Stream, message: bytes) -> None:
        """One message of a stream to the client. `flush` must follow."""
        if stream.done:
            return
        try:
            self._send(stream, message)
        except RequestError as error:
            self.refuse(stream, error.code, error.message)

    def end_each(self, stream: Stream) -> None:
        """The client has no more messages for a stream both ways."""
        if not stream.head_sent:
            self.outbox.send_head(stream)
        self.outbox.finish(stream, OK_TRAILERS)

    def complete(self, stream: Stream, outcome: Outcome) -> None:
        """A handler is done. `flush` must follow."""
        stream.running = False
        if stream.done:
            self._abandoned -= 1
        elif stream.deadline_s is not None and time.monotonic() >= stream.deadline_s:
            self._expire(stream)
        elif outcome is LATER:
            self.deferred.append(stream)
        elif isinstance(outcome, RequestError):
            self.refuse(stream, outcome.code, outcome.message)
        elif isinstance(outcome, bytes):
            if len(outcome) > self._limits.answer_bytes:
                self._refuse_answer(stream, len(outcome))
            else:
                self.outbox.answer(stream, outcome)
        else:
            self.refuse(stream, Code.INTERNAL, "the method did not answer with bytes")

    def refuse(self, stream: Stream, code: Code, message: str, http_status: int = 200) -> None:
        """Answers with an error."""
        self.outbox.drop(stream)
        if stream.head_sent:
            block = error_trailers(code, message)
        else:
            block = error_head(code, message, http_status)
        self.outbox.finish(stream, block)

    def reset(self, stream_id: int, reason: Reason) -> None:
        """Ends a stream for what its client did.

        Raises:
            ConnectionFault: It did so too often.
        """
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.give_up(stream)
        self._remember(stream_id)
        self.outbox.put(frames.rst_stream(stream_id, reason))
        self.charge_reset()

    def check_ended_first(self, stream_id: int) -> None:
        """Frames for a closed stream: may they be late?

        Raises:
            ConnectionFault: The client had ended it itself.
        """
        if stream_id not in self._ended_first:
            raise ConnectionFault(Reason.STREAM_CLOSED, f"stream {stream_id} is closed")

    def _send(self, stream: Stream, message: bytes) -> None:
        self.outbox.send_message(stream, message)
        self.outbox.pump()
        if self.is_full():
            raise RequestError(Code.RESOURCE_EXHAUSTED, "too many answers are not read")

    def _on_sent(self, stream: Stream) -> None:
        self._control.restore()
        self._resets.give()
        if not stream.half_closed:  # it may stop sending: section 8.1
            self.outbox.put(frames.rst_stream(stream.id, Reason.NO_ERROR))
            self._remember(stream.id)
        self.give_up(stream)

    def _refuse_answer(self, stream: Stream, size: int) -> None:
        text = f"Sent message larger than max ({size} vs. {self._limits.answer_bytes})"
        self.refuse(stream, Code.RESOURCE_EXHAUSTED, text)

    def _expire(self, stream: Stream) -> None:
        if not stream.done:
            self.refuse(stream, Code.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _on_timer(self, stream: Stream) -> None:
        self._expire(stream)
        self.flush()

    def _remember(self, stream_id: int) -> None:
        self._ended_first[stream_id] = None
        if len(self._ended_first) > _REMEMBERED:
            del self._ended_first[next(iter(self._ended_first))]
