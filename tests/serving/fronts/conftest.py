"""Both gRPC fronts over the same handlers, and a client that sends what grpcio never would."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator

import grpc
import hpack
import hyperframe.frame
import pytest

from serving.server.grpc_front import start_grpc
from serving.server.h2_front import H2Server, start_h2
from tests.serving.fronts.echo import Front, Handlers
from tests.serving.fronts.frame_client import FrameClient
from tests.serving.fronts.raw_client import RawClient, TlsClient, message


@pytest.fixture(scope="session")
def grpcio_front() -> Iterator[Front]:
    handlers = Handlers()
    server, port = start_grpc(handlers.methods(), 0, 8, "127.0.0.1")
    yield Front("grpcio", port, handlers)
    server.stop(0).wait()


@pytest.fixture(scope="session")
def h2_front() -> Iterator[Front]:
    handlers = Handlers()
    with start_h2(handlers.methods(), port=0, threads=8, address="127.0.0.1") as server:
        yield Front("h2", server.port, handlers)


@pytest.fixture(params=["grpcio", "h2"])
def front(request: pytest.FixtureRequest) -> Front:
    """What holds for any front."""
    return request.getfixturevalue(f"{request.param}_front")


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[H2Server, Handlers]]]:
    """Starts an h2 front of the test's own."""
    running: list[H2Server] = []

    def start(**options: object) -> tuple[H2Server, Handlers]:
        handlers = Handlers()
        settings = {"port": 0, "threads": 4, "address": "127.0.0.1", **options}
        running.append(start_h2(handlers.methods(), **settings))  # type: ignore[arg-type]
        return running[-1], handlers

    yield start
    for server in running:
        server.stop(grace_s=0)


@pytest.fixture
def channel(front: Front) -> Iterator[grpc.Channel]:
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    with grpc.insecure_channel(front.address, options) as channel:
        yield channel


@pytest.fixture
def by_frames() -> Iterator[Callable[..., FrameClient]]:
    """Opens connections for frames made by hand; arguments as `FrameClient`'s."""
    opened: list[FrameClient] = []

    def connect(port: int, *first: hyperframe.frame.Frame) -> FrameClient:
        opened.append(FrameClient(port, *first))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., RawClient]]:
    """Opens raw connections to a port."""
    opened: list[RawClient] = []

    def connect(port: int, context: ssl.SSLContext | None = None, **options: object) -> RawClient:
        if context is not None:
            opened.append(TlsClient(port, context))
        else:
            opened.append(RawClient(port, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


@pytest.fixture
def raw(front: Front, connect: Callable[..., RawClient]) -> RawClient:
    """A raw connection to the front."""
    return connect(front.port)


@pytest.fixture
def raw_h2(h2_front: Front, connect: Callable[..., RawClient]) -> RawClient:
    """A raw connection to the h2 front."""
    return connect(h2_front.port)


@pytest.fixture
def framed() -> Callable[[bytes], bytes]:
    """`raw_client.message`."""
    return message


@pytest.fixture
def encoded_head() -> Callable[..., bytes]:
    """A header block that needs no table, for frames made by hand."""

    def encode(path: str = "/test.Echo/Echo", **more: str) -> bytes:
        encoder = hpack.Encoder()
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *more.items(),
        ]
        return encoder.encode([hpack.NeverIndexedHeaderTuple(*pair) for pair in fields])

    return encode
