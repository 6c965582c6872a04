"""What one client of the h2 front may cost the others: resets, floods, unread answers, silence."""

from __future__ import annotations

import gc
import resource
import socket
import time
import weakref

import hyperframe.frame as frames
import pytest

from serving.server.h2 import streams
from serving.server.h2.streams import Limits

ECHO = "/test.Echo/Echo"
WHOLE = ["END_HEADERS"]
END = ["END_STREAM"]


def eventually(condition) -> None:
    """Waits for another thread."""
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_rapid_reset(h2_front, by_frames, connect, encoded_head) -> None:
    bystander = connect(h2_front.port)
    client = by_frames(h2_front.port)
    head = encoded_head("/test.Echo/Echo")
    for stream in range(1, 10_001, 2):
        try:
            client.send(
                frames.HeadersFrame(stream, head, flags=WHOLE), frames.RstStreamFrame(stream, 8)
            )
        except ConnectionError:
            break  # it has closed
    else:
        pytest.fail("it took 5000 resets")
    assert bystander.call(ECHO, b"x").messages() == [b"x"]


def test_resets_are_told_when_too_many(start, by_frames, encoded_head) -> None:
    server, _ = start(limits=Limits(resets=5))
    client = by_frames(server.port)
    pairs = [
        (frames.HeadersFrame(stream, encoded_head(), flags=WHOLE), frames.RstStreamFrame(stream, 8))
        for stream in range(1, 20, 2)
    ]
    client.send(*(frame for pair in pairs for frame in pair))
    assert client.goaway() == "ENHANCE_YOUR_CALM"


def test_making_the_server_reset(start, by_frames, encoded_head) -> None:
    server, _ = start(limits=Limits(resets=5))
    client = by_frames(server.port)
    broken = encoded_head("")  # malformed: each is reset by the server
    client.send(*(frames.HeadersFrame(2 * n + 1, broken, flags=WHOLE + END) for n in range(50)))
    assert client.goaway() == "ENHANCE_YOUR_CALM"


def test_honest_cancels_are_none_of_it(start, connect) -> None:
    server, _ = start(limits=Limits(resets=5))
    client = connect(server.port)
    for _ in range(50):
        client.connection.reset_stream(client.begin(ECHO), 8)
        assert client.call(ECHO, b"x").messages() == [b"x"]


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_continuation_flood(h2_front, by_frames, encoded_head, size: int) -> None:
    client = by_frames(h2_front.port)
    client.send(frames.HeadersFrame(1, encoded_head()))
    client.send(*(frames.ContinuationFrame(1, bytes(size)) for _ in range(70)))
    assert client.goaway() == "ENHANCE_YOUR_CALM"


def test_header_bomb(h2_front, by_frames) -> None:
    client = by_frames(h2_front.port)
    entry = b"\x40\x01a" + b"\x7f\x81\x16" + b"v" * 2944  # into the table, then 60 times from it
    client.send(frames.HeadersFrame(1, entry + b"\xbe" * 60, flags=WHOLE))
    assert client.goaway() == "ENHANCE_YOUR_CALM"


@pytest.mark.parametrize(
    "frame",
    [
        frames.PingFrame(0, b"12345678"),
        frames.SettingsFrame(0),
        frames.PriorityFrame(1, depends_on=3, stream_weight=1),
        frames.ExtensionFrame(0xEE, 0),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_floods_of_frames_that_carry_nothing(h2_front, by_frames, connect, frame) -> None:
    bystander = connect(h2_front.port)
    client = by_frames(h2_front.port)
    flood = frame.serialize() * 1000
    try:
        for _ in range(200):  # it does not even read the answers
            client.send(flood)
            assert bystander.call(ECHO, b"x").messages() == [b"x"]
    except ConnectionError:
        assert bystander.call(ECHO, b"x").messages() == [b"x"]
    else:
        pytest.fail("it took all")


def test_flood_of_empty_data(h2_front, by_frames, encoded_head) -> None:
    client = by_frames(h2_front.port)
    client.send(frames.HeadersFrame(1, encoded_head(), flags=WHOLE))
    client.send(*[frames.DataFrame(1)] * 1500)
    assert client.goaway() == "ENHANCE_YOUR_CALM"


def test_more_data_than_the_window(h2_front, by_frames, encoded_head) -> None:
    client = by_frames(h2_front.port)
    chunk = frames.DataFrame(1, bytes(60_000)).serialize()  # message after message of nothing
    client.send(frames.HeadersFrame(1, encoded_head("/none"), flags=WHOLE))
    try:
        for _ in range(2000):
            client.send(chunk)
    except ConnectionError:
        return
    pytest.fail("it took all")


def test_large_requests_at_the_same_time(start, connect, framed) -> None:
    server, _ = start(limits=Limits(request_bytes=1 << 20))
    client = connect(server.port)
    data = framed(bytes(400_000))
    for _ in range(3):  # as what is done, reset or refused is not counted any more
        begun = [client.begin(ECHO) for _ in range(3)]
        client.send(begun[0], data[:-1], end=False)
        client.send(begun[1], data[:-1], end=False)
        client.send(begun[2], data[:-1], end=False)
        assert client.reply(begun[2]).status == 8
        client.connection.reset_stream(begun[1], 8)
        client.send(begun[0], data[-1:])
        assert client.reply(begun[0]).messages() == [data[5:]]


def test_more_streams_than_announced(start, connect, framed) -> None:
    server, handlers = start(limits=Limits(concurrent_streams=2))
    client = connect(server.port)
    assert client.connection.remote_settings.max_concurrent_streams == 2
    client.connection.remote_settings.max_concurrent_streams = 100  # it does not care
    client.connection.remote_settings.acknowledge()
    gate = handlers.gate("two")
    held = [client.begin("/test.Echo/Wait") for _ in range(2)]
    for stream in held:
        client.send(stream, framed(b"two"))
    assert client.call(ECHO, b"x").reset == 7  # REFUSED_STREAM: clients try again
    gate.open.set()
    assert [client.reply(stream).messages() for stream in held] == [[b"two"]] * 2
    assert client.call(ECHO, b"x").messages() == [b"x"]


def test_handlers_of_reset_streams_count(start, connect, framed) -> None:
    server, handlers = start(limits=Limits(concurrent_streams=2, resets=10**6), threads=2)
    client = connect(server.port)
    gates = [handlers.gate(name) for name in ("one", "two")]
    for name, gate in zip((b"one", b"two"), gates, strict=True):
        stream = client.begin("/test.Echo/Wait")
        client.send(stream, framed(name))
        assert gate.entered.wait(20)
        client.connection.reset_stream(stream, 8)
        client.push()
    assert client.call(ECHO, b"x").reset == 7
    for gate in gates:
        gate.open.set()
    while (reply := client.call(ECHO, b"x")).reset == 7:
        pass
    assert reply.messages() == [b"x"]


def test_reset_requests_leave_nothing(start, connect, framed, monkeypatch) -> None:
    server, handlers = start(threads=1)
    alive: weakref.WeakSet[streams.Stream] = weakref.WeakSet()

    class Watched(streams.Stream):
        __slots__ = ("__weakref__",)

        def __init__(self, *args: object) -> None:
            super().__init__(*args)  # type: ignore[arg-type]
            alive.add(self)

    monkeypatch.setattr("serving.server.h2.requests.Stream", Watched)
    client = connect(server.port)
    gate = handlers.gate("held")
    held = client.begin("/test.Echo/Wait", grpc_timeout="100S")
    client.send(held, framed(b"held"))
    assert gate.entered.wait(20)
    for _ in range(50):  # they wait for the only thread
        stream = client.begin(ECHO, grpc_timeout="100S")
        client.send(stream, framed(bytes(100_000)))
        client.connection.reset_stream(stream, 8)
    client.connection.ping(b"in order")
    client.push()
    client.until(lambda: client.acknowledged)
    gate.open.set()
    assert client.reply(held).messages() == [b"held"]
    assert client.call(ECHO, b"x").messages() == [b"x"]
    eventually(lambda: gc.collect() is not None and len(alive) == 0)
    assert len(handlers.calls) == 1  # the reset ones were never handled


def test_deadlines_pass_while_requests_wait(start, connect, framed) -> None:
    server, handlers = start(threads=1)
    client = connect(server.port)
    gate = handlers.gate("held")
    held = client.begin("/test.Echo/Wait")
    client.send(held, framed(b"held"))
    assert gate.entered.wait(20)
    reply = client.call(ECHO, b"x", grpc_timeout="10m")  # in the queue
    assert (reply.status, reply.text) == (4, "Deadline Exceeded")
    unfinished = client.begin(ECHO, grpc_timeout="10m")  # its message never comes
    assert client.reply(unfinished).status == 4
    gate.open.set()
    assert client.reply(held).messages() == [b"held"]
    assert client.call(ECHO, b"y").messages() == [b"y"]
    assert len(handlers.calls) == 1


def test_answers_that_are_not_read(start, connect, framed) -> None:
    server, handlers = start(limits=Limits(unsent_bytes=3 << 20))
    client = connect(server.port)
    client._reads = False
    calls = [client.begin("/test.Echo/Zeros") for _ in range(20)]
    for stream in calls:
        client.send(stream, framed(b"1000000"))
    client.send(client.begin(ECHO), framed(b"x"))
    client.connection.ping(b"in order")
    client.push()
    client.until(lambda: client.acknowledged)
    (connection,) = server._connections
    eventually(lambda: connection._requests.deferred)
    assert connection._outbox.unsent < 9 << 20  # those of four threads may come on top
    assert not handlers.calls
    other = connect(server.port)
    assert other.call(ECHO, b"y").messages() == [b"y"]
    client._reads = True
    for stream, reply in list(client.replies.items()):
        if reply.data:
            client.connection.acknowledge_received_data(len(reply.data), stream)
    client.push()
    assert [len(client.reply(stream).data) for stream in calls] == [1_000_005] * 20


@pytest.mark.slow
def test_errors_that_are_not_read(start, by_frames, encoded_head, connect) -> None:
    server, _ = start()
    client = by_frames(server.port)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.until(frames.WindowUpdateFrame)
    head, stream, rest = encoded_head("/none"), 1, b""
    client.socket.setblocking(False)
    try:
        while stream < 2_000_000:  # until the server reads no more either
            if not rest:
                rest = frames.HeadersFrame(stream, head, flags=WHOLE + END).serialize()
                stream += 2
            rest = rest[client.socket.send(rest) :]
            if stream % 1000 == 1:
                assert _waiting_bytes(server) < 4 << 20
    except BlockingIOError:
        pass
    assert _waiting_bytes(server) < 4 << 20
    assert connect(server.port).call(ECHO, b"x").messages() == [b"x"]
    client.close()


def _waiting_bytes(server) -> int:
    return sum(each._transport.get_write_buffer_size() for each in list(server._connections))


def test_a_client_that_reads_nothing_at_all(start, by_frames, encoded_head, connect) -> None:
    server, _ = start(limits=Limits(stall_s=0.2))
    client = by_frames(server.port, frames.SettingsFrame(0, {4: 2**31 - 1}))
    client.send(frames.WindowUpdateFrame(0, 2**31 - 1 - 65_535))
    head = encoded_head("/test.Echo/Zeros")
    body = b"\0\0\0\0\x0950000000 "
    client.send(frames.HeadersFrame(1, head, flags=WHOLE), frames.DataFrame(1, body, flags=END))
    assert connect(server.port).call(ECHO, b"x").messages() == [b"x"]
    eventually(lambda: server.connections == 1)  # only the other


def test_silence(start, by_frames, encoded_head) -> None:
    server, _ = start(limits=Limits(keepalive_s=0.05, keepalive_timeout_s=0.2))
    deaf = by_frames(server.port)
    assert deaf.until(frames.PingFrame)
    assert deaf.read() is None  # it did not answer
    lively = by_frames(server.port)
    for _ in range(5):
        lively.send(frames.PingFrame(0, lively.until(frames.PingFrame).opaque_data, flags=["ACK"]))
    lively.send(
        frames.HeadersFrame(1, encoded_head(), flags=WHOLE),
        frames.DataFrame(1, bytes(5), flags=END),
    )
    assert lively.until(frames.DataFrame).data == bytes(5)


def test_half_open_clients(start) -> None:
    server, _ = start(limits=Limits(handshake_s=0.1))
    for data in (b"", b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall(data)
            while client.recv(1000):
                pass
    eventually(lambda: server.connections == 0)


def test_a_thousand_idle_connections(start, connect) -> None:
    server, _ = start()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 4096:
        pytest.skip("too few files may be open")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, most))
    idle = []
    try:
        memory = _resident_bytes()
        for _ in range(1000):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            client.sendall(
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames.SettingsFrame(0).serialize()
            )
            idle.append(client)
        eventually(lambda: server.connections == 1000)
        assert _resident_bytes() - memory < 64 << 20
        assert connect(server.port).call(ECHO, b"x").messages() == [b"x"]
    finally:
        for client in idle:
            client.close()
        eventually(lambda: server.connections <= 1)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
