"""Starting and stopping the h2 front: ports, sockets, TLS, draining."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import grpc
import hyperframe.frame as frames
import pytest

from serving.server.h2_front import start_h2
from tests.serving.certificates import self_signed
from tfx_pipeline.errors import ServingError

ECHO = "/test.Echo/Echo"
WHOLE = ["END_HEADERS"]
END = ["END_STREAM"]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key of localhost, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "cert.pem", folder / "key.pem"
    key, cert = self_signed()
    paths[0].write_text(cert)
    paths[1].write_text(key)
    return paths


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def trusting(certificate: tuple[Path, Path], *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def test_tls_with_grpcio(start, tls: ssl.SSLContext, certificate) -> None:
    server, _ = start(ssl_context=tls)
    credentials = grpc.ssl_channel_credentials(certificate[0].read_bytes())
    with grpc.secure_channel(
        f"localhost:{server.port}", credentials, [("grpc.max_receive_message_length", -1)]
    ) as channel:
        for size in (0, 10, 8_000_000):
            data = bytes(size)
            assert channel.unary_unary(ECHO)(data, timeout=20) == data


def test_mutual_tls(start, tls: ssl.SSLContext, certificate) -> None:
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(certificate[0])
    server, _ = start(ssl_context=tls)
    pem, key = (path.read_bytes() for path in certificate)
    answers = []
    for credentials in (
        grpc.ssl_channel_credentials(pem, key, pem),
        grpc.ssl_channel_credentials(pem),
    ):
        with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
            try:
                answers.append(channel.unary_unary(ECHO)(b"x", timeout=20))
            except grpc.RpcError as error:
                answers.append(error.code())
    assert answers == [b"x", grpc.StatusCode.UNAVAILABLE]


def test_alpn(start, connect, tls: ssl.SSLContext, certificate) -> None:
    server, _ = start(ssl_context=tls)
    client = connect(server.port, trusting(certificate, "http/1.1", "h2"))
    assert client.socket.selected_alpn_protocol() == "h2"
    assert client.call(ECHO, bytes(500_000)).messages() == [bytes(500_000)]
    for context in (trusting(certificate), trusting(certificate, "http/1.1")):
        with pytest.raises(OSError, match=r"closed|reset|ALPN|alert"):
            connect(server.port, context)
    assert client.call(ECHO, b"x").messages() == [b"x"]


def test_plain_client_of_a_tls_port(start, connect, tls: ssl.SSLContext, certificate) -> None:
    server, _ = start(ssl_context=tls)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        while plain.recv(1000):
            pass
    assert connect(server.port, trusting(certificate, "h2")).call(ECHO, b"x").status == 0


def test_unix_socket(start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server, _ = start(port=None, socket_path=str(path))
    assert server.port == 0
    with grpc.insecure_channel(f"unix:{path}") as channel:
        assert channel.unary_unary(ECHO)(b"x", timeout=20) == b"x"
        with pytest.raises(ServingError, match=r"cannot listen on the socket .*taken"):
            start(port=None, socket_path=str(path))
        assert channel.unary_unary(ECHO)(b"y", timeout=20) == b"y"
    server.stop(0)
    assert not path.exists()


def test_socket_that_a_killed_server_left(start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
    start(port=None, socket_path=str(path))
    with grpc.insecure_channel(f"unix:{path}") as channel:
        assert channel.unary_unary(ECHO)(b"x", timeout=20) == b"x"
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(ServingError):
        start(port=None, socket_path=str(file))
    assert file.read_text() == "precious"


def test_port_that_is_taken(start, h2_front) -> None:
    with pytest.raises(ServingError, match=f"cannot listen on port {h2_front.port} of 127.0.0.1"):
        start(port=h2_front.port)


def test_stopping_waits_for_requests(start, connect, framed) -> None:
    server, handlers = start()
    gate = handlers.gate("last")
    client = connect(server.port)
    stream = client.begin("/test.Echo/Wait")
    client.send(stream, framed(b"last"))
    assert gate.entered.wait(20)
    stopping = threading.Thread(target=server.stop, args=(20.0,))
    stopping.start()
    client.socket.settimeout(20)
    by_then = []
    reader = threading.Thread(target=lambda: by_then.append(_read_all(client.socket)))
    reader.start()
    assert not server.wait(0.05)
    until_refused(server.port)  # though it has not stopped yet
    gate.open.set()
    reader.join(20)
    stopping.join(20)
    assert server.wait(0)
    assert b"last" in by_then[0]
    assert b"grpc-status" in by_then[0]
    server.stop()  # again: nothing


def test_requests_on_their_way_are_served(start, by_frames, encoded_head, framed) -> None:
    server, handlers = start()
    client = by_frames(server.port)
    wait, echo = encoded_head("/test.Echo/Wait"), encoded_head()
    gate = handlers.gate("first")
    client.send(
        frames.HeadersFrame(1, wait, flags=WHOLE), frames.DataFrame(1, framed(b"first"), flags=END)
    )
    assert gate.entered.wait(20)
    stopping = threading.Thread(target=server.stop, args=(20.0,))
    stopping.start()
    assert client.until(frames.GoAwayFrame).last_stream_id == 2**31 - 1
    ping = client.until(frames.PingFrame)
    client.send(
        frames.HeadersFrame(3, echo, flags=WHOLE), frames.DataFrame(3, framed(b"sent"), flags=END)
    )
    assert client.until(frames.DataFrame).data == framed(b"sent")
    client.send(frames.PingFrame(0, ping.opaque_data, flags=["ACK"]))
    assert client.until(frames.GoAwayFrame).last_stream_id == 3
    client.send(frames.HeadersFrame(5, echo, flags=WHOLE))
    refused = client.until(frames.RstStreamFrame)
    assert (refused.stream_id, refused.error_code) == (5, 7)
    gate.open.set()
    assert client.until(frames.DataFrame).data == framed(b"first")
    while client.read() is not None:
        pass
    stopping.join(20)
    assert server.wait(0)


def test_grace_is_bounded(start, connect, framed) -> None:
    server, handlers = start()
    gate = handlers.gate("stuck")
    client = connect(server.port)
    client.send(client.begin("/test.Echo/Wait"), framed(b"stuck"))
    assert gate.entered.wait(20)
    server.stop(0.05)
    assert server.wait(0)
    assert _read_all(client.socket) is not None  # closed
    gate.open.set()
    assert gate.left.wait(20)  # its answer finds no loop any more, and no harm is done


def test_idle_clients_do_not_hold_up_the_stop(start, connect) -> None:
    server, _ = start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        assert channel.unary_unary(ECHO)(b"x", timeout=20) == b"x"
        connect(server.port)  # answers no PING
        socket.create_connection(("127.0.0.1", server.port))  # has not even begun
        server.stop(30)
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(ECHO)(b"x", timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_no_thread_stays(start) -> None:
    before = set(threading.enumerate())
    server = start_h2({}, port=0, threads=4, address="127.0.0.1")
    server.stop()
    assert set(threading.enumerate()) <= before


def test_reflection(start) -> None:
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
        ProtoReflectionDescriptorDatabase,
    )

    from serving.server.reflection import reflection_handlers

    with (
        start_h2(
            reflection_handlers(["/test.Echo/Echo"]), port=0, threads=1, address="127.0.0.1"
        ) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert services == {"test.Echo", "grpc.reflection.v1alpha.ServerReflection"}


def test_ipv6(start) -> None:
    try:
        server, _ = start(address="::1")
    except ServingError:
        pytest.skip("no IPv6 here")
    with grpc.insecure_channel(f"[::1]:{server.port}") as channel:
        assert channel.unary_unary(ECHO)(b"x", timeout=20) == b"x"


def until_refused(port: int) -> None:
    try:
        while True:
            socket.create_connection(("127.0.0.1", port), timeout=20).close()
    except ConnectionRefusedError:
        return


def _read_all(connection: socket.socket) -> bytes:
    data = b""
    try:
        while part := connection.recv(1 << 16):
            data += part
    except ConnectionResetError:
        pass
    return data
