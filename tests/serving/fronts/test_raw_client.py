"""What any front answers to clients that are not grpcio: header order, padding, tiny windows."""

from __future__ import annotations

import gzip
import os
import zlib

import h2.settings
import pytest

ECHO = "/test.Echo/Echo"
WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
TABLE = h2.settings.SettingCodes.HEADER_TABLE_SIZE
FRAME = h2.settings.SettingCodes.MAX_FRAME_SIZE


def test_an_answer(raw) -> None:
    reply = raw.call(ECHO, b"hello")
    head, trailers = reply.blocks
    assert head[":status"] == "200"
    assert head["content-type"] == "application/grpc"
    assert {"identity", "deflate", "gzip"} <= set(head["grpc-accept-encoding"].split(", "))
    assert trailers["grpc-status"] == "0"
    assert reply.messages() == [b"hello"]


def test_an_error_is_one_block(raw) -> None:
    reply = raw.call("/test.Echo/Fail", "5 na\u00efve %\n".encode())
    (block,) = reply.blocks
    assert block[":status"] == "200"
    assert block["content-type"] == "application/grpc"
    assert (reply.status, reply.text) == (5, "na%C3%AFve %25%0A")
    assert not reply.data


def test_many_streams_on_one_connection(raw, framed) -> None:
    sent = {}
    for number in range(100):
        method = ("Echo", "Inline", "Future")[number % 3]
        stream = raw.begin(f"/test.Echo/{method}")
        sent[stream] = b"%d" % number
    for stream, data in sent.items():  # all heads, then all messages
        raw.send(stream, framed(data))
    assert {stream: raw.reply(stream).messages() for stream in sent} == {
        stream: [data] for stream, data in sent.items()
    }


@pytest.mark.parametrize("pad", [0, 1, 255])
def test_padding(raw_h2, framed, pad: int) -> None:  # grpcio knows no padded DATA
    data = os.urandom(100_000)
    stream = raw_h2.begin(ECHO)
    raw_h2.send(stream, framed(data), pad=pad)
    assert raw_h2.reply(stream).messages() == [data]


def test_head_with_priority(raw, framed) -> None:
    stream = raw.begin(ECHO, priority=True)
    raw.send(stream, framed(b"x"))
    assert raw.reply(stream).messages() == [b"x"]


def test_message_in_single_bytes(raw, framed) -> None:
    stream = raw.begin(ECHO)
    raw.send(stream, framed(b"slowly does it"), chunk=1)
    assert raw.reply(stream).messages() == [b"slowly does it"]


def test_end_in_a_frame_of_its_own(raw, framed) -> None:
    stream = raw.begin(ECHO)
    raw.send(stream, framed(b"x"), end=False)
    raw.send(stream, b"")
    assert raw.reply(stream).messages() == [b"x"]


def test_end_by_trailers(raw, framed) -> None:
    stream = raw.begin("/test.Echo/Echo")
    raw.send(stream, framed(b"x"), end=False)
    raw.connection.send_headers(stream, [("some", "trailer")], end_stream=True)
    raw.push()
    assert raw.reply(stream).messages() == [b"x"]


def test_head_over_several_frames(raw) -> None:
    fields = {f"x_{number}": os.urandom(40).hex() for number in range(50)}
    raw.connection.max_outbound_frame_size = 1000  # the h2 package makes CONTINUATION of the rest
    stream = raw.begin(ECHO, **fields)
    raw.send(stream, b"\0\0\0\0\1x")
    assert raw.reply(stream).messages() == [b"x"]


@pytest.mark.parametrize("table", [0, 100, 65_536])
def test_header_tables_of_any_size(front, connect, table: int) -> None:
    raw = connect(front.port)
    assert raw.call(ECHO, b"x").messages() == [b"x"]
    raw.connection.update_settings({TABLE: table})
    raw.push()
    for _ in range(3):
        assert raw.call(ECHO, b"x").messages() == [b"x"]
        assert raw.call("/test.Echo/Fail", b"3 no").status == 3


def test_a_timeout_of_its_own_for_each(raw) -> None:
    # As Go does: the field is another each time, and each changes the dynamic table.
    for number in range(200):
        reply = raw.call("/test.Echo/Inline", b"%d" % number, grpc_timeout=f"{99_999 - number}m")
        assert reply.messages() == [b"%d" % number]


@pytest.mark.parametrize("window", [1, 10, 16_383, 65_535, 1_000_000])
def test_windows_of_any_size(front, connect, window: int) -> None:
    raw = connect(front.port, settings={WINDOW: window})
    size = min(300_000, window * 50)
    reply = raw.call("/test.Echo/Zeros", b"%d" % size)
    assert reply.messages() == [bytes(size)]
    assert reply.status == 0


def test_a_window_that_opens_late(front, connect) -> None:
    raw = connect(front.port, settings={WINDOW: 0})
    stream = raw.begin("/test.Echo/Inline")
    raw.send(stream, b"\0\0\0\0\1x")
    raw.until(lambda: raw.replies[stream].blocks)
    assert not raw.replies[stream].data
    raw.connection.update_settings({WINDOW: 3})
    raw.push()
    raw.until(lambda: len(raw.replies[stream].data) == 3)
    raw.connection.increment_flow_control_window(100, stream)
    raw.push()
    assert raw.reply(stream).messages() == [b"x"]


def test_answers_take_turns(front, connect) -> None:
    raw = connect(front.port, settings={WINDOW: 1 << 20})
    large = raw.begin("/test.Echo/Zeros")
    raw.send(large, b"\0\0\0\0\x075000000")
    small = raw.begin("/test.Echo/Echo")
    raw.send(small, b"\0\0\0\0\1x")
    assert raw.reply(small).messages() == [b"x"]
    assert len(raw.reply(large).data) == 5_000_005


def test_32_mib_both_ways(front, connect) -> None:
    raw = connect(front.port, settings={WINDOW: 1 << 20, FRAME: 1 << 20})
    data = bytes(range(256)) * (1 << 17)
    assert raw.call(ECHO, data).messages() == [data]


def test_an_unread_answer_holds_up_no_other(front, connect, framed) -> None:
    raw = connect(front.port, settings={WINDOW: 1000})
    raw._reads = False
    stuck = raw.begin("/test.Echo/Zeros")
    raw.send(stuck, framed(b"1000000"))
    raw.until(lambda: len(raw.replies[stuck].data) == 1000)
    for _ in range(20):
        assert raw.call(ECHO, b"x").messages() == [b"x"]
    other = connect(front.port)
    assert other.call(ECHO, b"y").messages() == [b"y"]


def test_pings(raw) -> None:
    raw.connection.ping(b"01234567")
    raw.push()
    raw.until(lambda: raw.acknowledged)
    assert raw.acknowledged == [b"01234567"]
    assert raw.call(ECHO, b"x").messages() == [b"x"]


def test_reset_before_the_message(raw) -> None:
    for _ in range(10):
        raw.connection.reset_stream(raw.begin(ECHO), 8)
    assert raw.call(ECHO, b"x").messages() == [b"x"]


def test_reset_while_it_runs(front, raw, framed) -> None:
    gate = front.handlers.gate("reset")
    stream = raw.begin("/test.Echo/Wait")
    raw.send(stream, framed(b"reset"))
    assert gate.entered.wait(20)
    raw.connection.reset_stream(stream, 8)
    raw.push()
    gate.open.set()
    assert gate.left.wait(20)
    assert raw.call(ECHO, b"x").messages() == [b"x"]


def test_deadline_of_a_request_that_runs(front, raw, framed) -> None:
    gate = front.handlers.gate("late")
    stream = raw.begin("/test.Echo/Wait", grpc_timeout="20m")
    raw.send(stream, framed(b"late"))
    reply = raw.reply(stream)
    gate.open.set()
    assert reply.reset is not None or reply.status == 4
    assert raw.call(ECHO, b"x").messages() == [b"x"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_messages(raw, framed, encoding: str) -> None:
    data = b"again and again" * 1000
    pressed = gzip.compress(data) if encoding == "gzip" else zlib.compress(data)
    for method in ("Echo", "Inline"):
        stream = raw.begin(f"/test.Echo/{method}", grpc_encoding=encoding)
        raw.send(stream, framed(pressed, compressed=1))
        assert raw.reply(stream).messages() == [data]


def test_plain_message_where_compressed_ones_may_come(raw, framed) -> None:
    stream = raw.begin(ECHO, grpc_encoding="gzip")
    raw.send(stream, framed(b"plain"))
    assert raw.reply(stream).messages() == [b"plain"]


def test_unknown_compression(raw_h2, framed) -> None:  # grpcio: INTERNAL, and no list
    stream = raw_h2.begin(ECHO, grpc_encoding="snappy")
    raw_h2.send(stream, framed(b"x", compressed=1))
    reply = raw_h2.reply(stream)
    assert reply.status == 12
    assert reply.blocks[0]["grpc-accept-encoding"] == "identity, deflate, gzip"


@pytest.mark.parametrize("kind", ["application/grpc+proto", "application/grpc;charset=utf-8"])
def test_content_types(raw, kind: str) -> None:
    assert raw.call(ECHO, b"x", content_type=kind).messages() == [b"x"]


def test_unknown_method_before_its_message_is_sent(raw) -> None:
    stream = raw.begin("/test.Echo/None")
    reply = raw.reply(stream)
    assert (reply.status, reply.text) == (12, "Method not found!")
    assert raw.call(ECHO, b"x").messages() == [b"x"]


def test_no_message(raw) -> None:
    reply = raw.reply(raw.begin(ECHO, end=True))
    assert reply.status == 12
    assert reply.text.endswith(" requires exactly one request message.")


def test_a_connection_that_breaks_off(front, connect, framed) -> None:
    gate = front.handlers.gate("broken")
    broken = connect(front.port)
    broken.send(broken.begin("/test.Echo/Wait"), framed(b"broken"))
    broken.send(broken.begin("/test.Echo/Echo"), framed(b"x" * 100)[:50], end=False)
    assert gate.entered.wait(20)
    broken.close()
    gate.open.set()
    assert gate.left.wait(20)
    assert connect(front.port).call(ECHO, b"x").messages() == [b"x"]
