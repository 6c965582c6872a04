"""A client on the h2 package, which sends what grpcio never would."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings

from tests.serving.fronts.echo import TIMEOUT_S


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
