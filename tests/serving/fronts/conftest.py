"""Both gRPC fronts over the same handlers, and a client that sends what grpcio never would."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import grpc
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import hpack
import hyperframe.frame
import pytest

from serving.server.calls import Call, Handler
from serving.server.grpc_front import start_grpc
from serving.server.h2_front import H2Server, start_h2
from serving.server.status import Code, RequestError

TIMEOUT_S = 20.0


class Gate:
    """Holds a handler until the test lets it go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.left = threading.Event()

    def pass_through(self) -> None:
        self.entered.set()
        assert self.open.wait(TIMEOUT_S)
        self.left.set()


class Handlers:
    """The methods under /test.Echo/, and what they saw."""

    def __init__(self) -> None:
        self.gates: dict[bytes, Gate] = {}
        self.calls: list[Call] = []
        self.streams: list[Future[bytes]] = []

    def gate(self, name: str) -> Gate:
        return self.gates.setdefault(name.encode(), Gate())

    def methods(self) -> dict[str, Handler]:
        def inline(data: bytes, call: Call) -> bytes:
            return data

        def future(data: bytes, call: Call) -> Future[bytes]:
            answer: Future[bytes] = Future()
            threading.Thread(target=self._resolve, args=(data, answer)).start()
            return answer

        def each(data: bytes, call: Call) -> bytes:
            if data == b"fail":
                raise RequestError(Code.NOT_FOUND, "none of those")
            return b"<" + data + b">"

        inline.inline = future.inline = True  # type: ignore[attr-defined]

        def stream(data: bytes, call: Call) -> Future[bytes]:
            """Sends each word, and ends as the last one says; `wait` leaves it open."""
            answer: Future[bytes] = Future()
            self.streams.append(answer)
            *words, last = data.split(b" ")
            for word in words:
                assert call.send is not None
                call.send(word)
            if last == b"refuse":
                raise RequestError(Code.NOT_FOUND, "no such stream")
            if last != b"wait":
                self._resolve(last, answer)
            return answer

        each.each_message = True  # type: ignore[attr-defined]
        stream.streams = True  # type: ignore[attr-defined]
        methods = {
            "Echo": self.echo,
            "Inline": inline,
            "Future": future,
            "Fail": self.fail,
            "Crash": self.crash,
            "Zeros": self.zeros,
            "Wait": self.wait,
            "Each": each,
            "Stream": stream,
        }
        return {f"/test.Echo/{name}": method for name, method in methods.items()}

    def echo(self, data: bytes, call: Call) -> bytes:
        self.calls.append(call)
        return data

    def fail(self, data: bytes, call: Call) -> bytes:
        """`5 text` answers with NOT_FOUND and `text`."""
        code, _, message = data.decode().partition(" ")
        raise RequestError(Code(int(code)), message)

    def crash(self, data: bytes, call: Call) -> bytes:
        raise ValueError("a fault of ours: the client must not read this")

    def zeros(self, data: bytes, call: Call) -> bytes:
        """As many bytes as the request says."""
        return bytes(int(data))

    def wait(self, data: bytes, call: Call) -> bytes:
        """Stays until the gate of that name opens."""
        self.gate(data.decode()).pass_through()
        return data

    def _resolve(self, data: bytes, answer: Future[bytes]) -> None:
        if data == b"fail":
            answer.set_exception(RequestError(Code.ABORTED, "the batch failed"))
        elif data == b"crash":
            answer.set_exception(ValueError("a fault of ours"))
        else:
            answer.set_result(data)


@dataclass
class Front:
    """A front that listens."""

    name: str
    port: int
    handlers: Handlers

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


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


def message(data: bytes, *, compressed: int = 0) -> bytes:
    """With its five bytes in front."""
    return struct.pack(">BL", compressed, len(data)) + data


@dataclass
class Reply:
    """What came back on one stream.

    Attributes:
        blocks: Each header block's fields.
        reset: The error code of RST_STREAM; None: none came.
    """

    blocks: list[dict[str, str]] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.blocks[-1]["grpc-status"])

    @property
    def text(self) -> str:
        return self.blocks[-1].get("grpc-message", "")

    def messages(self) -> list[bytes]:
        found, rest = [], bytes(self.data)
        while rest:
            size = struct.unpack(">L", rest[1:5])[0]
            found.append(rest[5 : 5 + size])
            rest = rest[5 + size :]
        return found


class RawClient:
    """An HTTP/2 client on the h2 package, as a Go or a Java client is one on its own stack.

    Attributes:
        connection: For what it does by itself; `push` sends what that left to send.
        gone: The GOAWAY frames that came: error code, last stream.
        acknowledged: Payloads of the answered PINGs.
    """

    def __init__(
        self, port: int, *, settings: Mapping[int, int] | None = None, reads: bool = True
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._begin(settings or {}, reads)

    def _begin(self, settings: Mapping[int, int], reads: bool) -> None:
        self._reads = reads
        self.replies: dict[int, Reply] = {}
        self.ready = False
        self.gone: list[tuple[int, int]] = []
        self.acknowledged: list[bytes] = []
        self.pinged: list[bytes] = []
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.connection = h2.connection.H2Connection(config)
        self.connection.local_settings = h2.settings.Settings(
            client=True, initial_values=dict(settings)
        )
        self.connection.max_inbound_frame_size = self.connection.local_settings.max_frame_size
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.initiate_connection()
        self.push()
        self.until(lambda: self.ready)  # with the server's settings

    def push(self) -> None:
        self.socket.sendall(self.connection.data_to_send())

    def send_raw(self, data: bytes) -> None:
        """Bytes that the h2 package knows nothing of."""
        self.push()
        self.socket.sendall(data)

    def receive(self) -> None:
        """Takes what came; waits until something does."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionResetError("the server has closed")
        for event in self.connection.receive_data(data):
            self._take(event)
        self.push()

    def _take(self, event: h2.events.Event) -> None:
        reply = self.replies.get(getattr(event, "stream_id", None) or 0, Reply())
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            reply.blocks.append(dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            reply.data += event.data
            if self._reads and event.flow_controlled_length:
                self.connection.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.ready = True
        elif isinstance(event, h2.events.StreamEnded):
            reply.ended = True
        elif isinstance(event, h2.events.StreamReset):
            reply.reset = int(event.error_code)
        elif isinstance(event, h2.events.PingAckReceived):
            self.acknowledged.append(event.ping_data)
        elif isinstance(event, h2.events.PingReceived):
            self.pinged.append(event.ping_data)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.gone.append((int(event.error_code), event.last_stream_id or 0))

    def begin(
        self,
        path: str,
        *,
        end: bool = False,
        without: tuple[str, ...] = (),
        priority: bool = False,
        **fields: str,
    ) -> int:
        """Sends a head; `grpc_timeout="1S"` is a field, as is `method` of `:method`."""
        head = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "localhost",
            "te": "trailers",
            "content-type": "application/grpc",
            "user-agent": "raw",
        }
        for name, value in fields.items():
            head[f":{name}" if f":{name}" in head else name.replace("_", "-")] = value
        for name in without:
            del head[name]
        stream = self.connection.get_next_available_stream_id()
        self.replies[stream] = Reply()
        self.connection.send_headers(
            stream, list(head.items()), end_stream=end, priority_weight=16 if priority else None
        )
        self.push()
        return stream

    def send(
        self, stream: int, data: bytes, *, end: bool = True, chunk: int = 1 << 14, pad: int = -1
    ) -> None:
        """Sends DATA within the windows; reads where it must wait for more."""
        at = 0
        while at < len(data) or (end and at == 0):
            overhead = pad + 1
            window = self.connection.local_flow_control_window(stream) - overhead
            size = min(window, chunk, self.connection.max_outbound_frame_size - overhead)
            if size <= 0:
                self.receive()
                continue
            part = data[at : at + size]
            at += max(1, len(part))
            last = end and at >= len(data)
            self.connection.send_data(
                stream, part, end_stream=last, pad_length=pad if pad >= 0 else None
            )
            if last or at % (1 << 20) < size:
                self.push()
        self.push()

    def call(self, path: str, data: bytes, **fields: str) -> Reply:
        """One unary request."""
        stream = self.begin(path, **fields)
        self.send(stream, message(data))
        return self.reply(stream)

    def reply(self, stream: int) -> Reply:
        """The answer, once its stream has ended."""
        reply = self.replies[stream]
        while not reply.ended and reply.reset is None:
            self.receive()
        return reply

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.receive()

    def close(self) -> None:
        self.socket.close()


class TlsClient(RawClient):
    """The same over TLS."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        self._begin({}, True)


class FrameClient:
    """Single frames, right or wrong, and what comes back as frames."""

    def __init__(self, port: int, *first: hyperframe.frame.Frame) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._unread = b""
        self.decoder = hpack.Decoder()
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.send(*(first or [hyperframe.frame.SettingsFrame(0)]))

    def send(self, *frames: hyperframe.frame.Frame | bytes) -> None:
        parts = (each if isinstance(each, bytes) else each.serialize() for each in frames)
        self.socket.sendall(b"".join(parts))

    def read(self) -> hyperframe.frame.Frame | None:
        """The next frame; None: the server has closed."""
        while len(self._unread) < 9 or len(self._unread) < 9 + self._size():
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._unread += data
        frame, size = hyperframe.frame.Frame.parse_frame_header(memoryview(self._unread[:9]))
        frame.parse_body(memoryview(self._unread[9 : 9 + size]))
        self._unread = self._unread[9 + size :]
        return frame

    def until(self, kind: type[hyperframe.frame.Frame]) -> hyperframe.frame.Frame:
        """The next frame of a kind, but for what acknowledges."""
        while (frame := self.read()) is not None:
            if isinstance(frame, kind) and "ACK" not in frame.flags:
                return frame
        raise AssertionError(f"closed without {kind.__name__}")

    def fields(self, frame: hyperframe.frame.Frame) -> dict[str, str]:
        return dict(self.decoder.decode(frame.data))

    def goaway(self) -> str:
        """Reads until the server closes; the name of the error that it gave last."""
        reason = None
        while (frame := self.read()) is not None:
            if isinstance(frame, hyperframe.frame.GoAwayFrame):
                reason = h2.errors.ErrorCodes(frame.error_code).name
        return str(reason)

    def close(self) -> None:
        self.socket.close()

    def _size(self) -> int:
        return int.from_bytes(self._unread[:3])


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
    """`message` for tests, which cannot import this file."""
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
