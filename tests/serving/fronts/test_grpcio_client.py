"""What any front answers to grpcio's clients."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest


def call(channel: grpc.Channel, method: str, data: bytes = b"", **options: Any) -> bytes:
    options.setdefault("timeout", 20)
    return channel.unary_unary(f"/test.Echo/{method}")(data, **options)


def failure(channel: grpc.Channel, method: str, data: bytes = b"", **options: Any):
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, method, data, **options)
    return caught.value


@pytest.mark.parametrize("method", ["Echo", "Inline", "Future"])
@pytest.mark.parametrize("size", [0, 1, 16_384, 1_000_000])
def test_bytes_come_back(channel: grpc.Channel, method: str, size: int) -> None:
    data = os.urandom(size)
    assert call(channel, method, data) == data


def test_32_mib_both_ways(channel: grpc.Channel) -> None:
    data = os.urandom(1 << 20) * 32
    assert call(channel, "Echo", data) == data


def test_answers_do_not_mix(channel: grpc.Channel) -> None:
    with ThreadPoolExecutor(32) as pool:
        sent = [os.urandom(size * 37 % 70_000) for size in range(300)]
        methods = ["Echo", "Inline", "Future"] * 100
        got = list(pool.map(lambda method, data: call(channel, method, data), methods, sent))
    assert got == sent


def test_asyncio_client_over_many_connections(front) -> None:
    async def run() -> list[bytes]:
        option = ("grpc.use_local_subchannel_pool", 1)
        channels = [grpc.aio.insecure_channel(front.address, [option]) for _ in range(8)]
        calls = [
            channel.unary_unary("/test.Echo/Inline")(b"%d" % number, timeout=20)
            for number, channel in enumerate(channels * 20)
        ]
        answers = await asyncio.gather(*calls)
        for channel in channels:
            await channel.close()
        return answers

    assert asyncio.run(run()) == [b"%d" % number for number in range(160)]


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.value[0]])
def test_every_status_code(channel: grpc.Channel, code: grpc.StatusCode) -> None:
    error = failure(channel, "Fail", b"%d why" % code.value[0])
    assert (error.code(), error.details()) == (code, "why")


@pytest.mark.parametrize(
    "text", ["100 % of it", "two\nlines\ttab", "naïve 模型 🚕", "a" * 1500, " spaces ", "%41"]
)
def test_messages_arrive_as_they_are(channel: grpc.Channel, text: str) -> None:
    assert failure(channel, "Fail", f"5 {text}".encode()).details() == text


def test_long_messages_are_cut(channel: grpc.Channel) -> None:
    assert failure(channel, "Fail", b"5 " + b"a" * 100_000).details() == "a" * 1500


def test_faults_of_the_server_stay_in_its_log(channel: grpc.Channel, caplog) -> None:
    error = failure(channel, "Crash")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == "internal error; the server's log has the cause"
    assert "a fault of ours" in caplog.text


def test_failed_futures(channel: grpc.Channel) -> None:
    error = failure(channel, "Future", b"fail")
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "the batch failed")
    assert failure(channel, "Future", b"crash").code() is grpc.StatusCode.INTERNAL


def test_unknown_methods(channel: grpc.Channel) -> None:
    for name in ("/test.Echo/None", "/none.Such/Echo", "/Echo"):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(name)(b"x" * 100_000, timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert caught.value.details() == "Method not found!"


def test_handlers_know_the_deadline(front, channel: grpc.Channel) -> None:
    front.handlers.calls.clear()
    before = time.monotonic()
    call(channel, "Echo", timeout=1000)
    call(channel, "Echo", timeout=None)
    first, second = (each.deadline_s for each in front.handlers.calls)
    assert before + 990 < first < time.monotonic() + 1100  # grpcio rounds up what it sends
    assert second is None or second > 1e9  # grpcio: some 300 years


def test_requests_past_their_deadline(front, channel: grpc.Channel) -> None:
    gate = front.handlers.gate("deadline")
    error = failure(channel, "Wait", b"deadline", timeout=0.05)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    gate.open.set()
    assert call(channel, "Echo", b"next") == b"next"


def test_cancelled_requests(front, channel: grpc.Channel) -> None:
    gate = front.handlers.gate("cancel")
    future = channel.unary_unary("/test.Echo/Wait").future(b"cancel", timeout=20)
    assert gate.entered.wait(20)
    assert future.cancel()
    gate.open.set()
    assert gate.left.wait(20)
    assert call(channel, "Echo", b"next") == b"next"


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("method", ["Echo", "Inline"])
def test_compressed_requests(
    channel: grpc.Channel, method: str, algorithm: grpc.Compression
) -> None:
    data = b"again and again " * 50_000
    assert call(channel, method, data, compression=algorithm) == data


def test_large_answer_to_a_small_request(channel: grpc.Channel) -> None:
    assert call(channel, "Zeros", b"20000000") == bytes(20_000_000)


def test_clients_that_come_and_go(front) -> None:
    for number in range(30):
        with grpc.insecure_channel(
            front.address, [("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            assert call(channel, "Inline", b"%d" % number) == b"%d" % number


def test_many_metadata(channel: grpc.Channel) -> None:
    metadata = [(f"key-{number}", "v" * 50) for number in range(60)]
    assert call(channel, "Echo", b"x", metadata=metadata) == b"x"
    binary = [("trace-bin", os.urandom(100))]
    assert call(channel, "Echo", b"x", metadata=binary) == b"x"


def test_blocked_handlers_do_not_hold_up_others(front, channel: grpc.Channel) -> None:
    gate = front.handlers.gate("held")
    held = channel.unary_unary("/test.Echo/Wait").future(b"held", timeout=20)
    assert gate.entered.wait(20)
    assert call(channel, "Echo", b"meanwhile") == b"meanwhile"
    gate.open.set()
    assert held.result() == b"held"
