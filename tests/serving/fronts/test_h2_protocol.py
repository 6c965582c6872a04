"""The h2 front and requests or frames that are wrong: RFC 9113, and gRPC over HTTP/2."""

from __future__ import annotations

import gzip
import struct

import hpack
import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

ECHO = "/test.Echo/Echo"
END = ["END_STREAM"]
WHOLE = ["END_HEADERS"]


@pytest.fixture
def wire(h2_front, by_frames):
    return by_frames(h2_front.port)


@pytest.fixture
def head(encoded_head) -> bytes:
    return encoded_head()


def answers(client, stream: int, head: bytes) -> bool:
    """Whether the connection still serves."""
    client.send(HeadersFrame(stream, head, flags=WHOLE), DataFrame(stream, bytes(5), flags=END))
    while True:
        frame = client.until(HeadersFrame)
        if frame.stream_id == stream:
            return client.fields(frame).get(":status") == "200"


# Requests.


def test_other_content_types(raw_h2) -> None:
    for kind in ("application/json", "application/grpcx", ""):
        reply = raw_h2.call(ECHO, b"x", content_type=kind)
        assert reply.blocks[0][":status"] == "415"
    assert raw_h2.call(ECHO, b"x").messages() == [b"x"]


def test_other_http_methods(raw_h2) -> None:
    for method in ("GET", "PUT", "OPTIONS"):
        assert raw_h2.call(ECHO, b"x", method=method).blocks[0][":status"] == "405"
    assert raw_h2.call(ECHO, b"x").messages() == [b"x"]


def test_several_messages(raw_h2, framed) -> None:
    stream = raw_h2.begin(ECHO)
    raw_h2.send(stream, framed(b"one") + framed(b"two"))
    reply = raw_h2.reply(stream)
    assert reply.status == 12
    assert reply.text == '"/test.Echo/Echo" requires exactly one request message.'


def test_second_message_later(raw_h2, framed) -> None:
    stream = raw_h2.begin(ECHO)
    raw_h2.send(stream, framed(b"one"), end=False)
    raw_h2.send(stream, framed(b"two"), end=False)
    assert raw_h2.reply(stream).status == 12


@pytest.mark.parametrize("size", [1, 4, 5, 7])
def test_cut_off_messages(raw_h2, framed, size: int) -> None:
    stream = raw_h2.begin(ECHO)
    raw_h2.send(stream, framed(b"abc")[:size])
    assert raw_h2.reply(stream).status == 13


def test_unknown_flag_in_the_prefix(raw_h2) -> None:
    stream = raw_h2.begin(ECHO)
    raw_h2.send(stream, b"\x02\0\0\0\x01x")
    assert raw_h2.reply(stream).status == 13


def test_prefix_of_a_gigabyte(raw_h2) -> None:
    stream = raw_h2.begin(ECHO)
    raw_h2.send(stream, struct.pack(">BL", 0, 10**9), end=False)  # before anything of it is sent
    reply = raw_h2.reply(stream)
    assert reply.status == 8
    assert reply.text == "Received message larger than max (1000000000 vs. 536870912)"
    assert raw_h2.call(ECHO, b"x").messages() == [b"x"]


def test_gzip_bomb(start, connect, framed) -> None:
    from serving.server.h2.streams import Limits

    server, _ = start(limits=Limits(message_bytes=1 << 20))
    client = connect(server.port)
    for method in ("Echo", "Inline", "Each"):
        stream = client.begin(f"/test.Echo/{method}", grpc_encoding="gzip")
        client.send(stream, framed(gzip.compress(bytes(50 << 20)), compressed=1))
        assert client.reply(stream).status == 8
    largest = bytes(1 << 20)
    stream = client.begin(ECHO, grpc_encoding="gzip")
    client.send(stream, framed(gzip.compress(largest), compressed=1))
    assert client.reply(stream).messages() == [largest]


@pytest.mark.parametrize(
    ("encoding", "data"),
    [("gzip", b"no gzip"), ("gzip", gzip.compress(b"x" * 100)[:-9]), ("identity", b"x")],
    ids=["no gzip", "cut off", "not compressed"],  # The time is in gzip's header.
)
def test_compressed_messages_that_are_none(raw_h2, framed, encoding: str, data: bytes) -> None:
    stream = raw_h2.begin("/test.Echo/Inline", grpc_encoding=encoding)
    raw_h2.send(stream, framed(data, compressed=1))
    assert raw_h2.reply(stream).status == 13


@pytest.mark.parametrize("timeout", ["", "1", "S", "-1S", "123456789S", "1s", "1.5S"])
def test_malformed_timeouts(raw_h2, timeout: str) -> None:
    reply = raw_h2.call(ECHO, b"x", grpc_timeout=timeout)
    assert (reply.blocks[0][":status"], reply.status) == ("400", 13)


@pytest.mark.parametrize("unit", ["H", "M", "S", "m", "u", "n"])
def test_units_of_timeouts(raw_h2, unit: str) -> None:
    number = {"m": 99_999, "u": 99_999_999, "n": 0}.get(unit, 100)
    reply = raw_h2.call("/test.Echo/Inline", b"x", grpc_timeout=f"{number}{unit}")
    assert reply.status == (4 if unit == "n" else 0)


def test_request_ids(h2_front, raw_h2) -> None:
    h2_front.handlers.calls.clear()
    raw_h2.call(ECHO, b"x", x_request_id="abc-1")
    raw_h2.call(ECHO, b"x")
    assert [call.request_id for call in h2_front.handlers.calls] == ["abc-1", ""]


def test_large_heads(raw_h2) -> None:
    reply = raw_h2.call(ECHO, b"x", large="y" * 20_000)
    assert reply.status == 8
    assert raw_h2.call(ECHO, b"x").messages() == [b"x"]


def test_content_length(raw_h2, framed) -> None:
    assert raw_h2.call(ECHO, b"x", content_length="6").messages() == [b"x"]
    assert raw_h2.call(ECHO, b"x", content_length="7").reset == 1
    assert raw_h2.call(ECHO, b"x", content_length="six").reset == 1


def test_streams_both_ways(raw_h2, framed) -> None:
    stream = raw_h2.begin("/test.Echo/Each")
    reply = raw_h2.replies[stream]
    raw_h2.send(stream, framed(b"a"), end=False)
    raw_h2.until(lambda: reply.messages() == [b"<a>"])
    raw_h2.send(stream, framed(b"b") + framed(b"")[:3], end=False)
    raw_h2.until(lambda: reply.messages() == [b"<a>", b"<b>"])
    raw_h2.send(stream, framed(b"")[3:])
    assert raw_h2.reply(stream).messages() == [b"<a>", b"<b>", b"<>"]
    assert reply.status == 0
    assert raw_h2.reply(raw_h2.begin("/test.Echo/Each", end=True)).status == 0
    stream = raw_h2.begin("/test.Echo/Each")
    raw_h2.send(stream, framed(b"a") + framed(b"fail"), end=False)
    reply = raw_h2.reply(stream)
    assert (reply.messages(), reply.status, reply.text) == ([b"<a>"], 5, "none of those")
    stream = raw_h2.begin("/test.Echo/Each")
    raw_h2.send(stream, framed(b"a")[:4])
    assert raw_h2.reply(stream).status == 13


# Malformed heads: the stream is reset, the connection goes on.


@pytest.mark.parametrize(
    "fields",
    [
        [(":method", "POST"), (":scheme", "http")],
        [(":method", "POST"), (":scheme", "http"), (":path", "")],
        [(":method", "POST"), (":method", "POST"), (":scheme", "http"), (":path", "/a")],
        [(":method", "POST"), ("te", "trailers"), (":scheme", "http"), (":path", "/a")],
        [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":status", "200")],
        [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("Upper", "x")],
        [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("sp ace", "x")],
        [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("x", "a\r\nb: c")],
        [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("x", "a\0")],
        [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("connection", "close")],
        [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("te", "gzip")],
    ],
)
def test_malformed_heads(wire, head: bytes, fields: list[tuple[str, str]]) -> None:
    wire.send(HeadersFrame(1, hpack.Encoder().encode(fields), flags=WHOLE + END))
    reset = wire.until(RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (1, 1)
    assert answers(wire, 3, head)


def test_trailers_that_end_nothing(wire, head: bytes) -> None:
    wire.send(HeadersFrame(1, head, flags=WHOLE), HeadersFrame(1, b"", flags=WHOLE))
    assert wire.until(RstStreamFrame).error_code == 1
    assert answers(wire, 3, head)


def test_data_after_the_end(h2_front, wire, encoded_head, framed) -> None:
    gate = h2_front.handlers.gate("after")
    block = encoded_head("/test.Echo/Wait")
    wire.send(HeadersFrame(1, block, flags=WHOLE), DataFrame(1, framed(b"after"), flags=END))
    assert gate.entered.wait(20)
    wire.send(DataFrame(1, b"more"))
    reset = wire.until(RstStreamFrame)
    gate.open.set()
    assert (reset.stream_id, reset.error_code) == (1, 5)
    assert answers(wire, 3, encoded_head())


def test_stream_windows_that_overflow(wire, head: bytes) -> None:
    wire.send(HeadersFrame(1, head, flags=WHOLE), WindowUpdateFrame(1, 2**31 - 1))
    assert wire.until(RstStreamFrame).error_code == 3
    wire.send(HeadersFrame(3, head, flags=WHOLE), window_update(3, 0))
    assert wire.until(RstStreamFrame).error_code == 1
    assert answers(wire, 5, head)


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE that hyperframe refuses to make."""
    return struct.pack(">HBBBLL", 0, 4, 8, 0, stream, increment)


def test_data_for_a_stream_that_the_server_ended(wire, encoded_head, head: bytes) -> None:
    wire.send(HeadersFrame(1, encoded_head("/none"), flags=WHOLE))
    reset = wire.until(RstStreamFrame)
    assert reset.error_code == 0  # "you may stop sending"
    wire.send(DataFrame(1, b"x" * 1000), DataFrame(1, b"x" * 1000, flags=END))
    assert answers(wire, 3, head)


# What no connection survives.


def raw_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HBBBL", len(payload) >> 8, len(payload) & 255, kind, flags, stream) + (
        payload
    )


HEAD = hpack.Encoder().encode(
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", ECHO),
        ("content-type", "application/grpc"),
    ]
)
BROKEN: dict[str, tuple[str, list[Frame | bytes]]] = {
    "DATA on an idle stream": ("PROTOCOL_ERROR", [DataFrame(1, b"x")]),
    "DATA on stream 0": ("PROTOCOL_ERROR", [raw_frame(0, 0, 0, b"x")]),
    "HEADERS on stream 0": ("PROTOCOL_ERROR", [raw_frame(1, 4, 0, HEAD)]),
    "HEADERS on an even stream": ("PROTOCOL_ERROR", [raw_frame(1, 4, 2, HEAD)]),
    "a lower stream": (
        "STREAM_CLOSED",
        [HeadersFrame(5, HEAD, flags=WHOLE), HeadersFrame(3, HEAD, flags=WHOLE)],
    ),
    "RST_STREAM of an idle stream": ("PROTOCOL_ERROR", [RstStreamFrame(1, 8)]),
    "WINDOW_UPDATE of an idle stream": ("PROTOCOL_ERROR", [WindowUpdateFrame(1, 8)]),
    "WINDOW_UPDATE by 0": ("PROTOCOL_ERROR", [raw_frame(8, 0, 0, bytes(4))]),
    "window overflow": ("FLOW_CONTROL_ERROR", [WindowUpdateFrame(0, 2**31 - 1)]),
    "frame too large": ("FRAME_SIZE_ERROR", [raw_frame(0, 0, 1, bytes(65_537))]),
    "PING of 7 bytes": ("FRAME_SIZE_ERROR", [raw_frame(6, 0, 0, bytes(7))]),
    "PING on a stream": ("PROTOCOL_ERROR", [raw_frame(6, 0, 1, bytes(8))]),
    "RST_STREAM of 3 bytes": ("FRAME_SIZE_ERROR", [raw_frame(3, 0, 1, bytes(3))]),
    "SETTINGS of 5 bytes": ("FRAME_SIZE_ERROR", [raw_frame(4, 0, 0, bytes(5))]),
    "SETTINGS on a stream": ("PROTOCOL_ERROR", [raw_frame(4, 0, 1)]),
    "SETTINGS ACK with a payload": ("FRAME_SIZE_ERROR", [raw_frame(4, 1, 0, bytes(6))]),
    "ENABLE_PUSH of 2": ("PROTOCOL_ERROR", [SettingsFrame(0, {2: 2})]),
    "INITIAL_WINDOW_SIZE too large": ("FLOW_CONTROL_ERROR", [SettingsFrame(0, {4: 2**31})]),
    "MAX_FRAME_SIZE too small": ("PROTOCOL_ERROR", [SettingsFrame(0, {5: 100})]),
    "PUSH_PROMISE": ("PROTOCOL_ERROR", [PushPromiseFrame(1, 2, HEAD, flags=WHOLE)]),
    "CONTINUATION of nothing": ("PROTOCOL_ERROR", [ContinuationFrame(1, HEAD)]),
    "PING inside of a block": ("PROTOCOL_ERROR", [HeadersFrame(1, HEAD), PingFrame(0, bytes(8))]),
    "CONTINUATION of another": ("PROTOCOL_ERROR", [HeadersFrame(1, HEAD), ContinuationFrame(3)]),
    "padding over all": (
        "PROTOCOL_ERROR",
        [HeadersFrame(1, HEAD, flags=WHOLE), raw_frame(0, 8, 1, b"\x05abcd")],
    ),
    "no HPACK": ("COMPRESSION_ERROR", [HeadersFrame(1, b"\xff\xff\xff\xff", flags=WHOLE)]),
    "no such entry": ("COMPRESSION_ERROR", [HeadersFrame(1, b"\xfe", flags=WHOLE)]),
    "entry 0": ("COMPRESSION_ERROR", [HeadersFrame(1, b"\x80", flags=WHOLE)]),
    "cut off in HPACK": ("COMPRESSION_ERROR", [HeadersFrame(1, HEAD[:-3], flags=WHOLE)]),
    "table too large": ("COMPRESSION_ERROR", [HeadersFrame(1, b"\x3f\xff\x7f", flags=WHOLE)]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_connections(h2_front, by_frames, connect, name: str) -> None:
    reason, frames = BROKEN[name]
    bystander = connect(h2_front.port)
    client = by_frames(h2_front.port)
    client.send(*frames)
    assert client.goaway() == reason
    assert bystander.call(ECHO, b"x").messages() == [b"x"]


def test_what_is_ignored(wire, head: bytes) -> None:
    wire.send(
        raw_frame(0xFA, 0xFF, 0, b"unknown"),
        raw_frame(0xFA, 0xFF, 9, b"unknown"),
        PriorityFrame(7, depends_on=5, stream_weight=3),
        SettingsFrame(0, {0xFF: 1}),
        PingFrame(0, b"answered", flags=["ACK"]),
        GoAwayFrame(0, 0),  # the client's: it opens no stream of ours, and may open its own
    )
    assert answers(wire, 1, head)


@pytest.mark.parametrize("first", [PingFrame(0, bytes(8)), SettingsFrame(0, flags=["ACK"])])
def test_first_frame_must_be_settings(h2_front, by_frames, first: Frame) -> None:
    assert by_frames(h2_front.port, first).goaway() == "PROTOCOL_ERROR"


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\0\x01", b"PRI * HTTP/1"]
)
def test_other_protocols(h2_front, connect, data: bytes) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", h2_front.port), timeout=20) as client:
        client.sendall(data)
        while client.recv(1000):
            pass
    assert connect(h2_front.port).call(ECHO, b"x").messages() == [b"x"]


def test_bytes_one_at_a_time(h2_front, wire, head: bytes, framed) -> None:
    frames = [HeadersFrame(1, head, flags=WHOLE), DataFrame(1, framed(b"x"), flags=END)]
    for byte in b"".join(frame.serialize() for frame in frames):
        wire.send(bytes([byte]))
    assert wire.until(DataFrame).data == framed(b"x")


def test_changed_windows_reach_open_streams(h2_front, by_frames, encoded_head, framed) -> None:
    client = by_frames(h2_front.port, SettingsFrame(0, {4: 10}))
    block = encoded_head("/test.Echo/Zeros")
    client.send(HeadersFrame(1, block, flags=WHOLE), DataFrame(1, framed(b"20"), flags=END))
    assert len(client.until(DataFrame).data) == 10
    client.send(SettingsFrame(0, {4: 5}), WindowUpdateFrame(1, 5))  # 5 too many, then just none
    client.send(PingFrame(0, b"in order"))
    frame = client.read()
    while not isinstance(frame, PingFrame):
        assert not isinstance(frame, DataFrame)
        frame = client.read()
    client.send(SettingsFrame(0, {4: 100}))
    assert len(client.until(DataFrame).data) == 15
