"""Sockets: reuse, deadlines, TLS, wrong protocols, answers that are none."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.client import Client, RequestFailed, RestClient, Tls
from serving.client.connection import pauses
from serving.probe import Protocol, what_speaks
from serving.server.rest import build_app, start_rest
from tfx_pipeline.errors import ConfigError

STATUS = b'{"model_version_status": [{"version": "7", "state": "AVAILABLE"}]}'


def _http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _rest(server: Any, **options: Any) -> RestClient:
    return RestClient(f"http://127.0.0.1:{server.port}", **options)


def test_rest_uses_its_connection_again(scripted: Callable[..., Any]) -> None:
    server = scripted(*[(_http(STATUS), True)] * 3)
    with _rest(server, headers={"Authorization": "Bearer x"}, keepalive_s=30) as client:
        for _ in range(3):
            assert client.status("a b")[0].version == 7
    assert server.connections == 1
    assert server.requests[0].startswith(b"GET /v1/models/a%20b HTTP/1.1\r\n")
    assert b"Authorization: Bearer x\r\n" in server.requests[0]


def test_rest_replaces_a_connection_that_the_server_closed(scripted: Callable[..., Any]) -> None:
    server = scripted((_http(STATUS), False), (_http(STATUS), False))
    with _rest(server) as client:
        assert [client.status("m")[0].version for _ in range(2)] == [7, 7]
    assert server.connections == 2


def test_rest_reads_chunks_and_counts_bytes(scripted: Callable[..., Any]) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for part in (STATUS[:20], STATUS[20:]):
        chunked += b"%x\r\n%s\r\n" % (len(part), part)
    server = scripted((chunked + b"0\r\n\r\n", True), (_http(STATUS), True))
    with _rest(server) as client:
        assert [client.status("m")[0].version for _ in range(2)] == [7, 7]
    assert server.connections == 1
    server = scripted((_http(STATUS), True))
    with _rest(server, max_message_bytes=10) as client, pytest.raises(RequestFailed) as caught:
        client.status("m")
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert "max_message_bytes" in caught.value.hint


def test_rest_tries_again_when_unavailable_only(scripted: Callable[..., Any]) -> None:
    busy = _http(b'{"error": "draining"}', "503 Service Unavailable")
    cut = _http(STATUS)[:-10]
    server = scripted((busy, True), (cut, False), (_http(STATUS), True))
    with _rest(server) as client:
        assert client.status("m")[0].version == 7
    assert len(server.requests) == 3
    refused = _http(b'{"error": "too many"}', "429 Too Many Requests")
    server = scripted((refused, True), (_http(STATUS), True))
    with _rest(server) as client, pytest.raises(RequestFailed) as caught:
        client.status("m")
    assert (caught.value.code, caught.value.message) == ("RESOURCE_EXHAUSTED", "too many")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (_http(b"no json"), "INTERNAL", "the answer cannot be read"),
        (_http(b"[]"), "INTERNAL", "the answer cannot be read"),
        (_http(b"[" * 100_000), "INTERNAL", "the answer cannot be read"),
        (_http(b"<html>", "404 Not Found"), "NOT_FOUND", "HTTP 404 Not Found: <html>"),
        (_http(b"", "418 Teapot"), "UNKNOWN", "HTTP 418 Teapot"),
        (b"SSH-2.0-OpenSSH\r\n", "FAILED_PRECONDITION", "no HTTP/1.1: the answer begins with"),
    ],
)
def test_answers_that_are_none(
    scripted: Callable[..., Any], answer: bytes, code: str, message: str
) -> None:
    with _rest(scripted((answer, False))) as client, pytest.raises(RequestFailed) as caught:
        client.status("m")
    assert caught.value.code == code
    assert caught.value.message.startswith(message)
    assert caught.value.hint


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("kind", [Client, RestClient])
def test_deadline(silent: int, kind: type) -> None:
    started = time.monotonic()
    with kind(f"127.0.0.1:{silent}", timeout_s=0.3) as client:
        with pytest.raises(RequestFailed) as caught:
            client.status("m")
        assert caught.value.code == "DEADLINE_EXCEEDED"
        assert "0.3 s" in caught.value.hint
    assert time.monotonic() - started < 5  # and not the minutes of a socket's own limits


def test_the_deadline_holds_for_a_body_that_drips() -> None:
    """Every byte comes in time for a limit on each read; the request as a whole does not."""
    stop = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not stop.wait(0.02):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with RestClient(address, 0.3) as client, pytest.raises(RequestFailed) as caught:
                client.status("m")
            assert caught.value.code == "DEADLINE_EXCEEDED"
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize("kind", [Client, RestClient])
def test_nobody_listens(kind: type) -> None:
    with kind("127.0.0.1:1", timeout_s=0.5) as client, pytest.raises(RequestFailed) as caught:
        client.status("m")
    assert caught.value.code == "UNAVAILABLE"
    assert "Is the server running" in caught.value.hint


def test_clients_of_many_threads(endpoints: Any) -> None:
    answers: list[float] = []

    def ask(client: RestClient, value: float) -> None:
        for _ in range(5):
            answer = client.predict("taxi", [[value, 0, 0]], signature_name="dense")
            answers.append(answer["y"].item() / value)

    with RestClient(endpoints.rest) as client:
        threads = [threading.Thread(target=ask, args=(client, n + 1.0)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [2.0] * 40


@pytest.fixture(params=["grpc", "rest"])
def secure(
    request: pytest.FixtureRequest, endpoints: Any, certificates: Any
) -> Iterator[Callable[[bool], Callable[..., Any]]]:
    """Starts a TLS port; returns what makes a client of it: `secure(mutual)(tls)`."""
    stops: list[Callable[[], object]] = []

    def start(mutual: bool) -> Callable[..., Any]:
        if request.param == "rest":
            app = build_app(endpoints.core, endpoints.handlers)
            context = certificates.server_context(mutual=mutual)
            rest = start_rest(app, 0, "127.0.0.1", threads=2, ssl_context=context)
            stops.append(lambda: rest.stop(0))
            return lambda tls: RestClient(f"https://127.0.0.1:{rest.port}", 5.0, tls=tls)
        server = grpc.server(ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers([_Methods(endpoints.handlers)])
        credentials = certificates.server_credentials(mutual=mutual)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        stops.append(lambda: server.stop(0).wait())
        return lambda tls: Client(f"127.0.0.1:{port}", 5.0, tls=tls)

    yield start
    for stop in stops:
        stop()


class _Methods(grpc.GenericRpcHandler):
    def __init__(self, handlers: dict[str, Any]) -> None:
        self._handlers = handlers

    def service(self, details: Any) -> Any:
        from serving.server.calls import Call

        handler = self._handlers[details.method]
        return grpc.unary_unary_rpc_method_handler(lambda data, _: handler(data, Call(None)))


def test_tls(secure: Callable[..., Any], certificates: Any) -> None:
    connect = secure(False)
    with connect(Tls(certificates.authority)) as client:
        assert client.status("taxi")[0].version == 7
    with connect(Tls(certificates.authority, server_name="models.test")) as client:
        assert client.status("taxi")[0].version == 7
    with connect(Tls()) as client, pytest.raises(RequestFailed) as caught:
        client.status("taxi")
    assert "Name the authority" in caught.value.hint
    with (
        connect(Tls(certificates.authority, server_name="other.test")) as client,
        pytest.raises(RequestFailed),
    ):
        client.status("taxi")


def test_mutual_tls(secure: Callable[..., Any], certificates: Any) -> None:
    connect = secure(True)
    pair = (certificates.client, certificates.client_key)
    with connect(Tls(certificates.authority, *pair)) as client:
        assert client.status("taxi")[0].version == 7
    with connect(Tls(certificates.authority)) as client, pytest.raises(RequestFailed):
        client.status("taxi")


def test_tls_against_plaintext_and_the_other_way(endpoints: Any, secure: Any) -> None:
    rest, port = endpoints.rest.replace("http", "https"), endpoints.grpc
    for client in (
        RestClient(rest, 1),
        RestClient(f"https://{port}", 1),
        Client(port, 1, tls=Tls()),
    ):
        with client, pytest.raises(RequestFailed) as caught:
            client.status("taxi")
        assert caught.value.hint.startswith("The port speaks no TLS")


def test_the_wrong_protocol(endpoints: Any) -> None:
    with (
        RestClient(f"http://{endpoints.grpc}", 2) as client,
        pytest.raises(RequestFailed) as caught,
    ):
        client.status("taxi")
    assert "gRPC port: use Client" in caught.value.hint
    rest_port = endpoints.rest.removeprefix("http://")
    with Client(rest_port, 2) as client, pytest.raises(RequestFailed) as caught:
        client.status("taxi")
    assert "use RestClient" in caught.value.hint
    with pytest.raises(ConfigError, match="no gRPC address"):
        Client(endpoints.rest)
    for address in ("http://", "ftp://a", "http://a:x"):
        with pytest.raises(ConfigError):
            RestClient(address)


def test_tls_files_that_cannot_be_used(tmp_path: Path, certificates: Any) -> None:
    with pytest.raises(ConfigError, match="go together"):
        Tls(certificate=certificates.client)
    for make in (Client, RestClient):
        with pytest.raises(ConfigError, match="cannot read a TLS file: No such file"):
            make("localhost:1", tls=Tls(tmp_path / "absent.pem"))
    with pytest.raises(ConfigError, match="a TLS file cannot be used"):
        RestClient("localhost:1", tls=Tls(None, certificates.client, certificates.server_key))


def test_what_speaks(endpoints: Any, silent: int, scripted: Any, certificates: Any) -> None:
    grpc_port = int(endpoints.grpc.rpartition(":")[2])
    rest_port = int(endpoints.rest.rpartition(":")[2])
    assert what_speaks("127.0.0.1", grpc_port) is Protocol.HTTP2
    assert what_speaks("127.0.0.1", rest_port) is Protocol.HTTP1
    assert what_speaks("127.0.0.1", silent, timeout_s=0.1) is Protocol.UNKNOWN
    assert what_speaks("127.0.0.1", 1) is Protocol.NOTHING
    context = certificates.server_context(mutual=False)
    app = build_app(endpoints.core, endpoints.handlers)
    rest = start_rest(app, 0, "127.0.0.1", threads=1, ssl_context=context)
    assert what_speaks("127.0.0.1", rest.port) is Protocol.TLS
    rest.stop(0)


def test_pauses_are_random_and_bounded() -> None:
    drawn = [list(pauses()) for _ in range(50)]
    assert {len(each) for each in drawn} == {3}
    for index, middle in enumerate((0.1, 0.2, 0.4)):
        assert all(0.5 * middle <= each[index] <= 1.5 * middle for each in drawn)
    assert len({each[0] for each in drawn}) > 40


def test_import_brings_only_what_the_client_extra_installs() -> None:
    """The modules that an import brings say more than its time, which depends on the machine."""
    script = (
        "import sys, serving.client\n"
        "files = {name.partition('.')[0]: getattr(module, '__file__', '') or ''\n"
        "         for name, module in sys.modules.items() if not name.startswith('_')}\n"
        "print(*sorted(name for name, file in files.items() if 'site-packages' in file))\n"
        "print(len(sys.modules))"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)
    packages, modules = done.stdout.splitlines()
    # ml_dtypes is optional; gRPC imports its companions, and typing_extensions, where they are.
    optional = {"ml_dtypes", "typing_extensions"}
    found = {name for name in packages.split() if not name.startswith("grpc_")}
    assert found - optional == {"google", "grpc", "numpy"}
    assert int(modules) < 600
