"""What the flags of either front do: TLS, sockets, gRPC's channel arguments, and how it ends."""

from __future__ import annotations

import json
import resource
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import hpack
import hyperframe.frame as frames
import pytest

from serving.server.listening import Listening, listen
from serving.server.options import parse_flags
from tests.serving.certificates import self_signed
from tests.serving.fronts.echo import Handlers
from tests.serving.fronts.frame_client import FrameClient
from tests.serving.fronts.raw_client import message
from tfx_pipeline.errors import ConfigError, ServingError

ECHO, ZEROS, WAIT = "/test.Echo/Echo", "/test.Echo/Zeros", "/test.Echo/Wait"
WHOLE = ["END_HEADERS"]


@dataclass
class Served:
    """A front that listens as its flags say."""

    listening: Listening
    handlers: Handlers
    stopped: bool = False

    @property
    def port(self) -> int:
        return self.listening.port

    def stop(self, grace_s: float) -> None:
        if not self.stopped:
            self.stopped = True
            self.listening.stops[0](grace_s)


@pytest.fixture(params=["grpcio", "h2"])
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def serve(*flags: str) -> Served:
        mine = ("--bind_address=127.0.0.1", "--model_base_path=/m", f"--grpc_front={request.param}")
        options, _ = parse_flags(["--port=0", *mine, *flags])
        handlers, unused = Handlers(), cast(Any, None)
        listening = listen(options, unused, handlers.methods(), unused, unused)
        running.append(Served(listening, handlers))
        return running[-1]

    yield serve
    for served in running:
        served.stop(0)


@pytest.fixture(scope="session")
def pair() -> tuple[str, str]:
    """Key and certificate of localhost, PEM."""
    return self_signed()


def ssl_file(folder: Path, pair: tuple[str, str], more: str = "") -> str:
    key, cert = (json.dumps(text) for text in pair)  # quoted as protobuf's text is
    (folder / "ssl.config").write_text(f"server_key: {key} server_cert: {cert} {more}")
    return f"--ssl_config_file={folder / 'ssl.config'}"


def code_of(channel: grpc.Channel, method: str, data: bytes) -> str:
    try:
        channel.unary_unary(method)(data, timeout=20)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_tls_with_alpn(serve, connect, tmp_path: Path, pair: tuple[str, str]) -> None:
    served = serve(ssl_file(tmp_path, pair))
    context = ssl.create_default_context(cadata=pair[1])
    context.set_alpn_protocols(["http/1.1", "h2"])
    raw = connect(served.port, context)
    assert raw.socket.selected_alpn_protocol() == "h2"
    data = bytes(500_000)
    assert raw.call(ECHO, data).messages() == [data]
    with grpc.secure_channel(
        f"localhost:{served.port}", grpc.ssl_channel_credentials(pair[1].encode())
    ) as channel:
        assert channel.unary_unary(ECHO)(b"x", timeout=20) == b"x"
    with grpc.insecure_channel(f"localhost:{served.port}") as channel:
        assert code_of(channel, ECHO, b"x") == "UNAVAILABLE"


def test_mutual_tls(serve, tmp_path: Path, pair: tuple[str, str]) -> None:
    served = serve(
        ssl_file(tmp_path, pair, f"custom_ca: {json.dumps(pair[1])} client_verify: true")
    )
    key, cert = (text.encode() for text in pair)
    with_own = grpc.ssl_channel_credentials(cert, key, cert)
    for credentials, code in (
        (with_own, "OK"),
        (grpc.ssl_channel_credentials(cert), "UNAVAILABLE"),
    ):
        with grpc.secure_channel(f"localhost:{served.port}", credentials) as channel:
            assert code_of(channel, ECHO, b"x") == code


def test_unix_socket(serve, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:  # by a server that was killed
        left.bind(str(path))
        left.listen()
    served = serve(f"--grpc_socket_path={path}")
    for address in (f"unix:{path}", f"127.0.0.1:{served.port}"):
        with grpc.insecure_channel(address) as channel:
            assert channel.unary_unary(ECHO)(b"x", timeout=20) == b"x"
    with pytest.raises(ServingError, match=r"cannot listen on the socket .*taken"):
        serve(f"--grpc_socket_path={path}")


def test_a_port_that_is_taken(serve) -> None:
    served = serve()
    with pytest.raises(ServingError, match=f"cannot listen on port {served.port} of 127.0.0.1"):
        serve(f"--port={served.port}")


def test_message_lengths(serve) -> None:
    served = serve(
        "--grpc_channel_arguments=grpc.max_receive_message_length=1000,"
        "grpc.max_send_message_length=5000"
    )
    with grpc.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        assert code_of(channel, ECHO, bytes(1000)) == "OK"
        assert code_of(channel, ECHO, bytes(1001)) == "RESOURCE_EXHAUSTED"
        assert code_of(channel, ZEROS, b"5000") == "OK"
        assert code_of(channel, ZEROS, b"5001") == "RESOURCE_EXHAUSTED"


def test_streams_at_the_same_time(serve, connect) -> None:
    served = serve("--grpc_channel_arguments=grpc.max_concurrent_streams=2")
    raw = connect(served.port)
    assert raw.connection.remote_settings.max_concurrent_streams == 2
    assert raw.call(ECHO, b"x").messages() == [b"x"]


def head_of(method: str) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return hpack.Encoder().encode(
        [hpack.NeverIndexedHeaderTuple(*field) for field in fields.items()]
    )


def wait_for(client: FrameClient, gate: str) -> None:
    """Begins a request that runs until its gate opens."""
    client.send(
        frames.HeadersFrame(1, head_of(WAIT), flags=WHOLE),
        frames.DataFrame(1, message(gate.encode()), flags=["END_STREAM"]),
    )


def until_closed(client: FrameClient, on_goaway: Callable[[], object] = bool) -> list[str]:
    """What comes until the server closes: `GOAWAY`, and the messages. Answers PINGs."""
    came: list[str] = []
    while (frame := client.read()) is not None:
        if isinstance(frame, frames.PingFrame) and "ACK" not in frame.flags:
            client.send(frames.PingFrame(0, frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, frames.DataFrame):
            came.append(frame.data[5:].decode())
        elif isinstance(frame, frames.GoAwayFrame) and "GOAWAY" not in came:
            came.append("GOAWAY")
            on_goaway()
    return came


def test_a_connection_that_gets_old_finishes_what_runs(serve, by_frames) -> None:
    served = serve("--grpc_channel_arguments=grpc.max_connection_age_ms=500")
    client = by_frames(served.port)
    wait_for(client, "old")
    assert until_closed(client, served.handlers.gate("old").open.set) == ["GOAWAY", "old"]


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(serve, by_frames) -> None:
    served = serve("--grpc_channel_arguments=grpc.max_connection_idle_ms=500")
    client = by_frames(served.port)
    wait_for(client, "busy")
    threading.Timer(1.5, served.handlers.gate("busy").open.set).start()
    assert until_closed(client) == ["busy", "GOAWAY"]


def test_the_grace_of_an_old_connection(serve, by_frames) -> None:
    served = serve(
        "--grpc_channel_arguments=grpc.max_connection_age_ms=300,"
        "grpc.max_connection_age_grace_ms=300"
    )
    client = by_frames(served.port)
    wait_for(client, "long")
    started = time.monotonic()
    assert until_closed(client) == ["GOAWAY"]
    assert time.monotonic() - started < 10
    served.handlers.gate("long").open.set()


def test_keepalive(serve, connect, framed) -> None:
    served = serve(
        "--grpc_channel_arguments=grpc.keepalive_time_ms=1000,grpc.keepalive_timeout_ms=500"
    )
    raw = connect(served.port)
    raw.send(raw.begin(WAIT), framed(b"kept"))
    raw.until(lambda: raw.pinged)  # and answers, so that it is not cut off
    raw.until(lambda: len(raw.pinged) > 1)
    served.handlers.gate("kept").open.set()
    assert raw.call(ECHO, b"x").messages() == [b"x"]


def test_channel_arguments_that_are_none(serve) -> None:
    with pytest.raises(ConfigError, match=r"'grpc\.keepalive_time_ms' is no KEY=VALUE"):
        serve("--grpc_channel_arguments=grpc.keepalive_time_ms")


def test_stopping_says_goaway_and_finishes(serve, by_frames) -> None:
    served = serve()
    client, gate = by_frames(served.port), served.handlers.gate("stop")
    wait_for(client, "stop")
    assert gate.entered.wait(20)
    stopping = threading.Thread(target=served.stop, args=(20.0,))
    stopping.start()

    def finish() -> None:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", served.port), timeout=5)
        gate.open.set()

    assert until_closed(client, finish) == ["GOAWAY", "stop"]
    stopping.join(20)
    assert not stopping.is_alive()


def test_rapid_resets_hold_up_nobody(serve, connect, by_frames) -> None:
    served = serve()
    bystander = connect(served.port)
    client, head = by_frames(served.port), head_of(ECHO)
    try:
        for stream in range(1, 10_001, 2):
            client.send(
                frames.HeadersFrame(stream, head, flags=WHOLE), frames.RstStreamFrame(stream, 8)
            )
    except ConnectionError:
        pass  # it may be cut off
    started = time.monotonic()
    answer = bystander.call(ECHO, b"x")
    # While many calls are pending, grpc's core cancels new ones, whoever makes them.
    while answer.status == grpc.StatusCode.CANCELLED.value[0] and time.monotonic() - started < 10:
        answer = bystander.call(ECHO, b"x")
    assert answer.messages() == [b"x"]
    assert time.monotonic() - started < 10


def test_large_messages_take_linear_time(serve) -> None:
    served = serve()

    def seconds(size: int) -> float:
        started = time.process_time()  # of client and server
        assert len(channel.unary_unary(ECHO)(bytes(size), timeout=60)) == size
        return time.process_time() - started

    with grpc.insecure_channel(
        f"127.0.0.1:{served.port}", [("grpc.max_receive_message_length", -1)]
    ) as channel:
        seconds(1 << 20)
        # Both are larger than most caches. Eight times as long, or sixty-four if quadratic.
        small = min(seconds(8 << 20) for _ in range(3))
        assert min(seconds(64 << 20) for _ in range(3)) < 30 * small


def test_a_prefix_of_a_gigabyte_takes_no_memory(serve, connect) -> None:
    served = serve()
    before = resident_bytes()
    # Each keeps one of grpcio's threads (8 or more) until its message is there; none of h2's.
    clients = [connect(served.port) for _ in range(4)]
    for raw in clients:
        raw.send(raw.begin(ECHO), struct.pack(">BL", 0, 1 << 30) + bytes(1000), end=False)
    assert connect(served.port).call(ECHO, b"x").messages() == [b"x"]
    assert resident_bytes() - before < 128 << 20


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
