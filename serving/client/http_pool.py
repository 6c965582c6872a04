"""HTTP/1.1 connections to one server, kept open and used again by whichever thread needs one.

The standard library's `http.client` does the protocol: a client of a few JSON requests needs no
package more. Proxies of the environment are not used.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from serving.client.connection import Connection, Tls
from tfx_pipeline.errors import ConfigError

_READ_BYTES = 1 << 20
_IDLE = 32
_PORTS = {"http": 80, "https": 443}


class TooLarge(Exception):
    """Raised when an answer is larger than allowed."""


@dataclass(frozen=True)
class Answer:
    """A response: HTTP status, reason and body."""

    status: int
    reason: str
    body: bytes


class HttpPool:
    """Connections to one server. Thread-safe.

    Args:
        address: `http://host:port`, `https://host:port` or `host:port`, perhaps with a path that
            stands before every request's.
        connection: TLS, keepalive, bounds and headers.

    Raises:
        ConfigError: The address is none of HTTP.
    """

    def __init__(self, address: str, connection: Connection) -> None:
        with_scheme = address if "://" in address else f"http://{address}"
        url = urlsplit(with_scheme)
        if url.scheme not in _PORTS or not url.hostname:
            raise ConfigError(
                f"{address} is no HTTP address", hint="Write http://host:8501 or https://host:8501."
            )
        is_tls = url.scheme == "https" or connection.tls is not None
        self._host = url.hostname
        self._port = _port(url, address)
        self._prefix = url.path.rstrip("/")
        self._connection = connection
        self._context = tls_context(connection.tls or Tls()) if is_tls else None
        self._idle: deque[http.client.HTTPConnection] = deque()

    def request(self, path: str, body: bytes, deadline: float) -> Answer:
        """Sends a POST with a body of JSON, or a GET where there is none.

        A kept connection that the server has closed meanwhile is replaced, once.

        Args:
            path: Below the address.
            body: The body; b"" for a GET.
            deadline: By `time.monotonic`; every wait for the socket ends there.

        Raises:
            OSError, http.client.HTTPException: As http.client raises them.
            TooLarge: The answer is larger than allowed.
        """
        try:
            kept = self._idle.pop()
        except IndexError:
            return self._exchange(self._connect(deadline), path, body, deadline)
        try:
            return self._exchange(kept, path, body, deadline)
        except (ConnectionError, http.client.BadStatusLine):
            return self._exchange(self._connect(deadline), path, body, deadline)

    def close(self) -> None:
        """Closes the connections that are idle."""
        while self._idle:
            self._idle.pop().close()

    def _exchange(
        self, connection: http.client.HTTPConnection, path: str, body: bytes, deadline: float
    ) -> Answer:
        try:
            _limit(connection, deadline)
            headers: Mapping[str, str] = {
                "Accept": "application/json",
                **({"Content-Type": "application/json"} if body else {}),
                **self._connection.headers,
            }
            method = "POST" if body else "GET"
            connection.request(method, self._prefix + path, body or None, headers)
            response = connection.getresponse()
            content = self._read(connection, response, deadline)
            response.close()  # read to its end, but http.client has not noticed
        except BaseException:
            connection.close()
            raise
        if response.will_close or len(self._idle) >= _IDLE:
            connection.close()
        else:
            self._idle.append(connection)
        return Answer(response.status, response.reason, content)

    def _read(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        deadline: float,
    ) -> bytes:
        bound = self._connection.max_message_bytes
        content = bytearray()
        while True:
            if connection.sock is not None:
                _limit(connection, deadline)
            part = response.read1(_READ_BYTES)
            if not part:
                break
            content += part
            if bound is not None and len(content) > bound:
                raise TooLarge(f"Received message larger than max ({bound} bytes)")
        if response.length:
            raise http.client.IncompleteRead(bytes(content), response.length)
        return bytes(content)

    def _connect(self, deadline: float) -> http.client.HTTPConnection:
        left = _left(deadline)
        if self._context is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=left)
            connection.connect()
        else:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=left, context=self._context
            )
            self._connect_tls(connection, left)
        sock = connection.sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._connection.keepalive_s is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_KEEPIDLE"):
                seconds = max(1, int(self._connection.keepalive_s))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
        return connection

    def _connect_tls(self, connection: http.client.HTTPSConnection, timeout_s: float) -> None:
        """As `HTTPSConnection.connect`, but for a certificate that may have another name."""
        assert self._context is not None
        plain = socket.create_connection((self._host, self._port), timeout_s)
        name = (self._connection.tls.server_name if self._connection.tls else "") or self._host
        try:
            connection.sock = self._context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise


def _port(url: Any, address: str) -> int:
    try:
        return int(url.port or _PORTS[url.scheme])
    except ValueError:
        raise ConfigError(f"{address} has no valid port", hint="Write http://host:8501.") from None


def tls_context(tls: Tls) -> ssl.SSLContext:
    """The standard library's form of a `Tls`.

    Raises:
        ConfigError: A file cannot be read, or is not what it should be.
    """
    for path in (tls.root_certificates, tls.certificate, tls.private_key):
        tls.read(path)  # tells which file cannot be read
    try:
        root = None if tls.root_certificates is None else str(tls.root_certificates)
        context = ssl.create_default_context(cafile=root)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.private_key)
    except ssl.SSLError as error:
        raise ConfigError(
            f"a TLS file cannot be used: {error.reason or error}",
            hint="Give PEM files, and a private key that belongs to the certificate.",
        ) from error
    return context


def _limit(connection: http.client.HTTPConnection, deadline: float) -> None:
    connection.sock.settimeout(_left(deadline))


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time is up")
    return left
