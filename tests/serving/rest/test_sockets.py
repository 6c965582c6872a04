"""What a REST port does about sizes, broken bytes, failures and time, and when it is stopped.

Codes of http_server.cc (`ToHTTPStatusCode`), the text of a request past its time as tensorflow's
direct_session.cc words it (tensorflow/serving issue 1672).
"""

from __future__ import annotations

import gzip
import socket
import threading
import time
from contextlib import suppress
from typing import Any

import httpx
import pytest
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from serving.server.answers import Answer
from serving.server.calls import Call
from serving.server.rest import RestServer
from serving.server.status import Code, RequestError
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


def test_gzip(http: httpx.Client) -> None:
    body = gzip.compress(BODY)
    headers = {"Content-Encoding": "gzip"}
    assert http.post(PATH, content=body, headers=headers).json() == {"outputs": [3.0]}
    members = gzip.compress(BODY[:5]) + gzip.compress(BODY[5:])
    assert http.post(PATH, content=members, headers=headers).json() == {"outputs": [3.0]}


@pytest.mark.parametrize(
    "body",
    [
        b"not gzip",
        gzip.compress(BODY)[:-9],
        gzip.compress(BODY) + b"x",
        gzip.compress(BODY)[:12] + b"\xff" * 20,
        gzip.compress(b"") * 20_000 + b"x",
    ],
    ids=["text", "cut", "more", "damaged", "members"],
)
def test_what_is_no_gzip(http: httpx.Client, body: bytes) -> None:
    response = http.post(PATH, content=body, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 400
    assert response.json() == {"error": "the request's body is no valid gzip data"}


@pytest.mark.parametrize("count", [1, 3])
def test_a_gzip_bomb(http: httpx.Client, count: int) -> None:
    body = gzip.compress(b" " * (2**21 // count)) * count
    response = http.post(PATH, content=body, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 413
    assert response.json() == {"error": "the request's body is larger than 1048576 bytes"}
    assert http.get("/healthz").status_code == 200


def test_a_huge_content_length_is_refused_before_the_body(rest_server: RestServer) -> None:
    with connected(rest_server.port) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        connection.sendall(f"{head}Content-Length: 1000000000\r\n\r\n".encode())
        status, document, closed = answer(connection)
        assert (status, closed) == (413, True)
        assert document == {"error": "the request's body is larger than 1048576 bytes"}
        assert connection.recv(1) == b""


def test_a_chunked_body_is_bounded_too(http: httpx.Client, rest_server: RestServer) -> None:
    assert http.post(PATH, content=iter([BODY[:4], BODY[4:]])).json() == {"outputs": [3.0]}
    with connected(rest_server.port) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        connection.sendall(b"100001\r\n" + b" " * 0x100001 + b"\r\n")
        assert answer(connection)[0] == 413


@pytest.mark.parametrize("length", ["-1", "x", "1\r\nContent-Length: 2", "9" * 30])
def test_a_content_length_that_is_none(rest_server: RestServer, length: str) -> None:
    with connected(rest_server.port) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")
        assert connection.recv(1) == b""


def test_a_head_without_end(rest_server: RestServer) -> None:
    with connected(rest_server.port) as connection:
        with suppress(ConnectionError):  # it may be closed before all is sent
            connection.sendall(b"GET / HTTP/1.1\r\nA: " + b"b" * 600_000)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\x00\x01", b"\0" * 100, b"GET /\xff HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_http(rest_server: RestServer, sent: bytes) -> None:
    with connected(rest_server.port) as connection:
        connection.sendall(sent)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")


def test_pipelined_requests(rest_server: RestServer) -> None:
    with connected(rest_server.port) as connection:
        connection.sendall(request("Connection: keep-alive\r\n") + request("Connection: close\r\n"))
        response = b""
        while received := connection.recv(65536):
            response += received
        assert response.count(b'"outputs": [3.0]') == 2


def test_an_offer_to_speak_http2_is_passed_over(rest_server: RestServer) -> None:
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    with connected(rest_server.port) as connection:
        for _ in range(2):  # Java's client sends it with each request
            connection.sendall(request(offer))
            assert answer(connection)[:2] == (200, {"outputs": [3.0]})
        connection.sendall(f"GET /readyz HTTP/1.1\r\nHost: x\r\n{offer}\r\n".encode())
        assert answer(connection)[:2] == (200, {"status": "ready"})


def test_a_request_past_its_time(start) -> None:
    release = threading.Event()
    _, url = start(methods={PREDICT: blocking(release)}, timeout_s=0.2, server={"threads": 1})
    try:
        for _ in range(2):  # the second waits for the one thread
            response = send(url)
            assert response.status_code == 504
            assert response.json() == {"error": "Timed out waiting for notification"}
        # Probes do not wait for a thread.
        assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    finally:
        release.set()


def test_the_handler_knows_deadline_and_request_id(start, handlers: dict[str, Any]) -> None:
    calls = []

    def handler(data: bytes, call: Call) -> bytes:
        calls.append((call, time.monotonic(), PredictRequest.FromString(data)))
        return handlers[PREDICT](data, call)

    _, url = start(methods={PREDICT: handler}, timeout_s=20)
    assert send(url, headers={"X-Request-Id": "r-1"}).status_code == 200
    ((call, now, message),) = calls
    assert 0 < call.deadline_s - now <= 20
    assert (call.request_id, call.entrypoint) == ("r-1", "REST")
    assert message.model_spec.name == "kinds"
    _, url = start(methods={PREDICT: handler}, timeout_s=0)
    assert send(url).status_code == 200
    assert calls[-1][0].deadline_s is None


def test_what_no_handler_has_seen_is_recorded(start, handlers: dict[str, Any]) -> None:
    """Else those requests would be missing in the counts and in the log."""
    recorded = []

    def record(call: Call, api: str, started: float, error: BaseException | None) -> None:
        assert isinstance(error, RequestError)
        recorded.append((call.model_name, call.request_id, api, call.entrypoint, error.code))

    _, url = start(record=record)
    headers = {"X-Request-Id": "r-2"}
    path = f"{url}/v1/models/none:regress"
    assert httpx.post(path, content=b"[", headers=headers, trust_env=False).status_code == 400
    assert recorded == [("none", "r-2", "Regress", "REST", Code.INVALID_ARGUMENT)]
    assert send(url).status_code == 200  # handlers record what they answer themselves
    assert httpx.get(f"{url}/v1/models/none", trust_env=False).status_code == 404
    assert len(recorded) == 1


@pytest.mark.parametrize("timeout_s", [0.2, 20])
def test_a_handler_may_answer_later(start, handlers: dict[str, Any], timeout_s: float) -> None:
    pending: list[tuple[Answer[bytes], bytes]] = []
    asked = threading.Event()

    def handler(data: bytes, call: Call) -> Answer[bytes]:
        pending.append((Answer(), handlers[PREDICT](data, call)))
        asked.set()
        return pending[-1][0]

    def settle() -> None:
        asked.wait(20)
        future, data = pending[0]
        future.set_result(data)

    _, url = start(methods={PREDICT: handler}, timeout_s=timeout_s)
    if timeout_s < 1:
        assert send(url).status_code == 504
        settle()  # a batch that comes too late can still be set
    else:
        threading.Thread(target=settle).start()
        assert send(url).json() == {"outputs": [3.0]}


def test_a_future_may_fail(start) -> None:
    future: Answer[bytes] = Answer()
    future.set_exception(RequestError(Code.RESOURCE_EXHAUSTED, "the queue is full"))
    _, url = start(methods={PREDICT: lambda data, call: future})
    response = send(url)
    assert (response.status_code, response.json()) == (429, {"error": "the queue is full"})


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.CANCELLED, 499),
        (Code.UNKNOWN, 500),
        (Code.INVALID_ARGUMENT, 400),
        (Code.DEADLINE_EXCEEDED, 504),
        (Code.NOT_FOUND, 404),
        (Code.ALREADY_EXISTS, 409),
        (Code.PERMISSION_DENIED, 403),
        (Code.RESOURCE_EXHAUSTED, 429),
        (Code.FAILED_PRECONDITION, 400),
        (Code.ABORTED, 409),
        (Code.OUT_OF_RANGE, 400),
        (Code.UNIMPLEMENTED, 501),
        (Code.INTERNAL, 500),
        (Code.UNAVAILABLE, 503),
        (Code.DATA_LOSS, 500),
        (Code.UNAUTHENTICATED, 401),
    ],
)
def test_every_code_has_its_status(start, code: Code, status: int) -> None:
    def handler(data: bytes, call: Call) -> bytes:
        raise RequestError(code, 'said "so"\n')

    _, url = start(methods={PREDICT: handler})
    response = send(url)
    assert (response.status_code, response.json()) == (status, {"error": 'said "so"\n'})


def test_a_handler_that_breaks(start, caplog: pytest.LogCaptureFixture) -> None:
    def handler(data: bytes, call: Call) -> bytes:
        raise ZeroDivisionError

    _, url = start(methods={PREDICT: handler})
    response = send(url)
    assert response.status_code == 500
    assert response.json() == {"error": "internal error; the server's log has the cause"}
    assert "ZeroDivisionError" in caplog.text


def test_stop_lets_running_requests_finish(start, handlers: dict[str, Any]) -> None:
    started, release = threading.Event(), threading.Event()

    def handler(data: bytes, call: Call) -> bytes:
        started.set()
        release.wait(30)
        return handlers[PREDICT](data, call)

    server, _ = start(methods={PREDICT: handler})
    with connected(server.port) as idle, connected(server.port) as busy:
        busy.sendall(request())
        started.wait(20)
        stopping = threading.Thread(target=server.stop, args=(20,))
        stopping.start()
        assert idle.recv(1) == b""  # it stops to accept, and idle connections close
        release.set()
        assert answer(busy)[1] == {"outputs": [3.0]}
        stopping.join(20)
        assert not stopping.is_alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_stop_waits_no_longer_than_its_grace(start) -> None:
    started, release = threading.Event(), threading.Event()
    server, _ = start(methods={PREDICT: blocking(release, started)})
    try:
        with connected(server.port) as connection, connected(server.port) as half:
            half.sendall(request()[:-5])
            connection.sendall(request())
            started.wait(20)
            server.stop(0.1)
            document = {"error": "the server is shutting down"}
            assert answer(connection) == (503, document, True)
    finally:
        release.set()
