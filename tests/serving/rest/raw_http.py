"""A REST port asked over bare sockets, byte by byte where that is what matters."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from serving.server.calls import Call
from serving.server.status import Code, RequestError

PREDICT = "/tensorflow.serving.PredictionService/Predict"
PATH = "/v1/models/kinds:predict"
BODY = b'{"inputs": [[1, 2]]}'


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """A connection to a port of this machine."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        yield connection


def answer(connection: socket.socket) -> tuple[int, dict[str, Any], bool]:
    """The status, the JSON, and whether the server closed the connection."""
    response = b""
    while b"\r\n\r\n" not in response:
        received = connection.recv(65536)
        if not received:
            break
        response += received
    head, _, body = response.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    length = next(int(line[15:]) for line in lines if line.startswith("content-length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return int(lines[0].split()[1]), json.loads(body), "connection: close" in lines


def request(headers: str = "", body: bytes = BODY) -> bytes:
    """The request's bytes."""
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def blocking(release: threading.Event, started: threading.Event | None = None) -> Any:
    """A Predict handler that waits."""

    def handler(data: bytes, call: Call) -> bytes:
        if started:
            started.set()
        release.wait(30)
        raise RequestError(Code.UNAVAILABLE, "released")

    return handler


def send(url: str, **settings: Any) -> httpx.Response:
    """Sends the request with a whole client."""
    return httpx.post(url + PATH, content=BODY, trust_env=False, timeout=30, **settings)
