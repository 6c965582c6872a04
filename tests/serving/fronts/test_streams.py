"""What any front does with a handler that sends several messages."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc
import pytest


def stream(channel: grpc.Channel, data: bytes, **options: float) -> grpc.Call:
    return channel.unary_stream("/test.Echo/Stream")(data, **{"timeout": 20, **options})


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


def test_messages_come_in_order(channel: grpc.Channel) -> None:
    words = [b"%d" % number for number in range(100)]
    assert list(stream(channel, b" ".join(words))) == words


def test_a_message_comes_before_the_stream_ends(front, channel: grpc.Channel) -> None:
    call = stream(channel, b"first wait")
    assert next(call) == b"first"
    front.handlers.streams[-1].set_result(b"last")
    assert list(call) == [b"last"]


@pytest.mark.parametrize(
    ("data", "before", "code", "details"),
    [
        (b"fail", [], "ABORTED", "the batch failed"),
        (b"one two fail", [b"one", b"two"], "ABORTED", "the batch failed"),
        (b"refuse", [], "NOT_FOUND", "no such stream"),
        (b"one crash", [b"one"], "INTERNAL", "internal error; the server's log has the cause"),
    ],
)
def test_streams_that_fail(
    channel: grpc.Channel, data: bytes, before: list[bytes], code: str, details: str
) -> None:
    call = stream(channel, data)
    got = [next(call) for _ in before]
    with pytest.raises(grpc.RpcError):
        next(call)
    assert (got, call.code().name, call.details()) == (before, code, details)


def test_a_stream_past_its_deadline(front, channel: grpc.Channel) -> None:
    call = stream(channel, b"one wait", timeout=0.3)
    assert next(call) == b"one"
    with pytest.raises(grpc.RpcError):
        next(call)
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(front.handlers.streams[-1].cancelled)


def test_a_client_that_leaves_cancels_its_stream(front, channel: grpc.Channel, caplog) -> None:
    call = stream(channel, b"one wait")
    assert next(call) == b"one"
    call.cancel()
    until(front.handlers.streams[-1].cancelled)
    with grpc.insecure_channel(front.address, [("grpc.use_local_subchannel_pool", 1)]) as other:
        assert next(stream(other, b"one wait")) == b"one"
    until(front.handlers.streams[-1].cancelled)
    assert "server's log" not in caplog.text


def test_open_streams_keep_no_thread(channel: grpc.Channel) -> None:
    calls = [stream(channel, b"one wait") for _ in range(50)]  # of 8 threads
    assert [next(call) for call in calls] == [b"one"] * 50
    assert channel.unary_unary("/test.Echo/Echo")(b"next", timeout=20) == b"next"
    for call in calls:
        call.cancel()


def test_clients_that_do_not_read_hold_up_nobody(front, channel: grpc.Channel) -> None:
    before = len(front.handlers.streams)
    words = b" ".join([b"x" * 2**20] * 4)
    calls = [stream(channel, words + b" wait") for _ in range(8)]  # of 8 threads
    until(lambda: len(front.handlers.streams) == before + 8)
    assert channel.unary_unary("/test.Echo/Echo")(b"next", timeout=10) == b"next"
    assert [len(next(calls[0])) for _ in range(4)] == [2**20] * 4
    for call in calls:
        call.cancel()
    until(lambda: all(one.cancelled() for one in front.handlers.streams[before:]))
