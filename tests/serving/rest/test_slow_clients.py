"""What a REST port does about clients that are slow, stall, leave or do nothing."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import httpx
import pytest

from serving.server.rest import RestServer
from tests.serving.rest.raw_http import (
    BODY,
    PATH,
    PREDICT,
    answer,
    blocking,
    connected,
    request,
    send,
)


def test_a_body_that_stops_half_way(start) -> None:
    server, url = start(body_timeout_s=0.2)
    with connected(server.port) as connection:
        connection.sendall(request()[:-5])
        status, document, closed = answer(connection)
        assert (status, closed) == (408, True)
        assert document == {"error": "the request's body took more than 0.2 s"}
        assert connection.recv(1) == b""
    assert send(url).json() == {"outputs": [3.0]}


def test_a_client_that_leaves_half_way(start) -> None:
    server, url = start()
    for _ in range(20):
        with connected(server.port) as connection:
            connection.sendall(request()[:-5])
    assert send(url).json() == {"outputs": [3.0]}


def test_a_body_byte_by_byte(rest_server: RestServer) -> None:
    with connected(rest_server.port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request():
            connection.sendall(bytes([byte]))
        assert answer(connection)[:2] == (200, {"outputs": [3.0]})


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nA: "])
def test_a_head_that_does_not_come(start, sent: bytes) -> None:
    server, url = start(server={"timeout_s": 0.2})
    with connected(server.port) as connection:
        connection.sendall(sent)
        assert connection.recv(1) == b""
    assert send(url).status_code == 200


def test_a_connection_is_used_again_and_closed_when_idle(start) -> None:
    server, _ = start(server={"timeout_s": 0.2})
    with connected(server.port) as connection:
        for _ in range(3):
            connection.sendall(request())
            assert answer(connection) == (200, {"outputs": [3.0]}, False)
        assert connection.recv(1) == b""


def test_a_slow_answer_outlasts_the_timeout_of_heads(start) -> None:
    release = threading.Event()
    server, _ = start(methods={PREDICT: blocking(release)}, server={"timeout_s": 0.1})
    with connected(server.port) as connection:
        connection.sendall(request())
        threading.Timer(0.4, release.set).start()
        assert answer(connection)[:2] == (503, {"error": "released"})


def test_many_idle_connections(rest_server: RestServer, http: httpx.Client) -> None:
    idle = [socket.create_connection(("127.0.0.1", rest_server.port)) for _ in range(300)]
    try:
        assert http.post(PATH, content=BODY).json() == {"outputs": [3.0]}
    finally:
        for connection in idle:
            connection.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"GET /healthz HTTP/1.1\r\nA: ", 0), (request()[:-15], 408)],
    ids=["head", "body"],
)
def test_slow_loris(start, sent: bytes, status: int) -> None:
    """A byte now and then keeps no connection open: what counts is the whole head, or body."""
    server, url = start(server={"timeout_s": 0.3}, body_timeout_s=0.3)
    with connected(server.port) as connection:
        connection.settimeout(0.05)
        connection.sendall(sent)
        received = None
        deadline = time.monotonic() + 20
        while received is None and time.monotonic() < deadline:
            with suppress(TimeoutError):
                received = connection.recv(65536)
            with suppress(ConnectionError):
                connection.sendall(b" ")
        assert received is not None
        assert received.startswith(f"HTTP/1.1 {status}".encode() if status else b"")
        assert bool(received) is bool(status)
    assert send(url).status_code == 200
