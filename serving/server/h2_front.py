"""The second gRPC transport: HTTP/2 on asyncio and uvloop, on one thread of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType

import uvloop

from serving.server.calls import Handler
from serving.server.h2.connection import Connection
from serving.server.h2.dispatch import Dispatcher
from serving.server.h2.streams import Limits
from serving.server.ports import port_refused, remove_stale_socket
from tfx_pipeline.errors import ServingError

logger = logging.getLogger("assay.serving")

_BACKLOG = 1024  # connections that wait to be accepted
_DRAIN_PING_S = 1.0  # for a client to answer before its last request is taken for known
_CLOSE_S = 2.0  # for what is written at the end to leave


class H2Server:
    """A front that listens. A context manager: leaving it stops it.

    Attributes:
        port: The TCP port it listens on; 0: none, only a Unix socket.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        listening: list[socket.socket],
        ssl_context: ssl.SSLContext | None,
        threads: int,
        limits: Limits,
    ) -> None:
        self.port = 0
        self._sockets = listening
        for listener in listening:
            if listener.family != socket.AF_UNIX:
                self.port = listener.getsockname()[1]
        self._ssl_context = ssl_context
        self._limits = limits
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.AbstractServer] = []
        self._stopped = threading.Event()
        self._stopping = threading.Lock()
        self._loop = uvloop.new_event_loop()
        self._dispatcher = Dispatcher(handlers, threads, limits.message_bytes, self._loop)
        self._thread = threading.Thread(target=self._run, name="h2-front", daemon=True)
        self._thread.start()
        self._call(self._listen).result()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def stop(self, grace_s: float = 10.0) -> None:
        """Takes no new request, lets the running ones finish for at most `grace_s`, closes.

        May be called from any thread, and again; the second call waits for the first.
        """
        with self._stopping:
            if self._stopped.is_set():
                return
            self._call(lambda: self._drain(grace_s)).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._dispatcher.stop(timeout_s=0.1)
            self._loop.close()
            self._stopped.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until it has stopped; False: not in time."""
        return self._stopped.wait(timeout_s)

    def __enter__(self) -> H2Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, make: Callable[[], Awaitable[None]]) -> Future[None]:
        async def run() -> None:
            await make()

        return asyncio.run_coroutine_threadsafe(run(), self._loop)

    async def _listen(self) -> None:
        def protocol() -> Connection:
            return Connection(self._dispatcher, self._limits, self._connections)

        for listener in self._sockets:
            unix = listener.family == socket.AF_UNIX
            tls = None if unix else self._ssl_context  # as gRPC's: a local socket has no TLS
            listen = self._loop.create_unix_server if unix else self._loop.create_server
            server = await listen(
                protocol,
                sock=listener,
                ssl=tls,
                ssl_handshake_timeout=self._limits.handshake_s if tls else None,
                ssl_shutdown_timeout=_CLOSE_S if tls else None,
                backlog=_BACKLOG,
            )
            self._servers.append(server)
        self._watch()

    def _watch(self) -> None:
        limits, now = self._limits, self._loop.time()
        for connection in list(self._connections):
            connection.watch(now)
        shortest = min(
            limits.handshake_s,
            limits.keepalive_s,
            limits.keepalive_timeout_s,
            limits.stall_s,
            limits.age_s,
            limits.age_grace_s,
            limits.idle_s,
        )
        self._loop.call_later(min(5.0, shortest / 4), self._watch)

    async def _drain(self, grace_s: float) -> None:
        for listener in self._sockets:  # from here on a client is refused, and looks elsewhere
            if listener.family == socket.AF_UNIX:
                Path(listener.getsockname()).unlink(missing_ok=True)
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.drain()
        start = self._loop.time()
        told = False
        while self._connections and self._loop.time() - start < grace_s:
            if not told and self._loop.time() - start > _DRAIN_PING_S:
                told = True
                for connection in list(self._connections):
                    connection.end_draining()
            await asyncio.sleep(0.005)
        if self._connections:
            logger.warning("%d connections were closed with requests", len(self._connections))
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)


def start_h2(
    handlers: Mapping[str, Handler],
    *,
    port: int | None,
    threads: int,
    address: str = "0.0.0.0",
    socket_path: str = "",
    ssl_context: ssl.SSLContext | None = None,
    limits: Limits | None = None,
) -> H2Server:
    """Listens, and answers with the handlers.

    Where a handler runs is its own to say: with the attribute `inline = True` on the event loop,
    else in a thread; see `serving.server.h2.dispatch`. With `each_message = True` it answers each
    message of a stream both ways.

    Args:
        handlers: Full method name to handler; any other method is UNIMPLEMENTED.
        port: TCP port; 0 takes a free one, None takes none.
        threads: Requests in threads at the same time; more wait their turn.
        address: IP address to listen on; 0.0.0.0 is every interface.
        socket_path: A Unix socket to listen on as well; empty: none.
        ssl_context: A server's context with its certificate, for the TCP port; ALPN is set here.
        limits: What a client may ask of us.

    Returns:
        The server, started.

    Raises:
        ServingError: The port or the path is taken or not allowed.
    """
    if ssl_context is not None:
        ssl_context.set_alpn_protocols(["h2"])
    listening: list[socket.socket] = []
    try:
        if port is not None:
            listening.append(_listen_tcp(address, port))
        if socket_path:
            listening.append(_listen_unix(socket_path))
    except BaseException:
        for listener in listening:
            listener.close()
        raise
    return H2Server(handlers, listening, ssl_context, threads, limits or Limits())


def _listen_tcp(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(_BACKLOG)  # here, as two may bind a port and only one listen
    except OSError as error:
        listener.close()
        raise port_refused(address, port, error.strerror or str(error)) from error
    listener.setblocking(False)
    return listener


def _listen_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        remove_stale_socket(path)
        listener.bind(path)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ServingError(
            f"cannot listen on the socket {path}: {error.strerror or error}",
            hint="Stop what uses it, or choose another path with --grpc_socket_path.",
        ) from error
    listener.setblocking(False)
    return listener
