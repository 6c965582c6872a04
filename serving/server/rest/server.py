"""The REST port's sockets: uvicorn on uvloop, in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from serving.server.ports import port_refused
from serving.server.rest.app import App
from serving.server.rest.connection import Connection
from tfx_pipeline.errors import ServingError

logger = logging.getLogger("assay.serving")

_BACKLOG = 2048
_LOOK_S = 0.02


class RestServer:
    """A REST port that listens.

    Attributes:
        port: The TCP port.
    """

    def __init__(self, port: int, server: uvicorn.Server, thread: threading.Thread) -> None:
        self.port = port
        self._server = server
        self._thread = thread

    def finish(self, grace_s: float) -> None:
        """Waits until no request is running, for at most `grace_s`.

        The port stays open: once `ServerCore.drain` was called, the app refuses what is new, and
        answers probes.
        """
        end = time.monotonic() + grace_s
        while self._server.server_state.tasks and time.monotonic() < end:
            time.sleep(_LOOK_S)

    def stop(self, grace_s: float = 10.0) -> None:
        """Takes no new connection, and lets running requests finish for at most `grace_s`.

        Requests that are not done by then are answered 503.
        """
        # uvicorn says int; it passes the value to asyncio.wait_for.
        self._server.config.timeout_graceful_shutdown = grace_s  # type: ignore[assignment]
        self._server.should_exit = True
        self._thread.join()


def start_rest(
    app: App,
    port: int,
    address: str = "0.0.0.0",
    *,
    threads: int,
    ssl_context: ssl.SSLContext | None = None,
    timeout_s: float = 60.0,
) -> RestServer:
    """Listens, and answers with the app.

    Args:
        app: From `build_app`.
        port: TCP port; 0 takes a free one.
        address: IP address to listen on; 0.0.0.0 is every interface.
        threads: Requests worked on at the same time; more wait their turn.
        ssl_context: For HTTPS, for instance from `tls_context`.
        timeout_s: How long a connection may be silent, and a request's headers may take.

    Raises:
        ServingError: The port is taken or not allowed, or the address is not this machine's.
    """
    listener = _listen(port, address)
    config = uvicorn.Config(
        app,
        loop="none",
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # the app logs its own failures
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        # uvicorn says int; it passes the value to call_later.
        timeout_keep_alive=timeout_s,  # type: ignore[arg-type]
    )
    config.load()
    config.ssl = ssl_context
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=_serve, args=(server, listener, threads), name="rest", daemon=True
    )
    thread.start()
    return RestServer(listener.getsockname()[1], server, thread)


def tls_context(key: str, certificate: str, client_ca: str = "") -> ssl.SSLContext:
    """The TLS settings that an `SSLConfig` asks for.

    Args:
        key: The server's private key, PEM.
        certificate: The server's certificate and its chain, PEM.
        client_ca: Certificates of those who sign clients' certificates, PEM; empty: clients need
            none.

    Raises:
        ServingError: One of them is no such PEM, or key and certificate do not match.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # OpenSSL's Python binding reads a key from a file only.
        with tempfile.TemporaryDirectory(prefix="assay-tls-") as folder:
            path = Path(folder) / "server.pem"
            path.touch(mode=0o600)
            path.write_text(f"{key}\n{certificate}\n")
            context.load_cert_chain(path)
        if client_ca:
            context.load_verify_locations(cadata=client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, ValueError) as error:
        raise ServingError(
            f"the TLS key or certificate cannot be used: {error}",
            hint="ssl_config_file holds them as PEM text, and they must belong together.",
        ) from error
    return context


def _listen(port: int, address: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise port_refused(address, port, reason, "rest_api_port") from error
    return listener


def _serve(server: uvicorn.Server, listener: socket.socket, threads: int) -> None:
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_default_executor(ThreadPoolExecutor(threads, thread_name_prefix="rest"))
    try:
        loop.run_until_complete(server.serve(sockets=[listener]))
        # Those that uvicorn has cancelled still have their 503 to send.
        loop.run_until_complete(_settle(asyncio.all_tasks(loop)))
    except Exception:
        logger.exception("the REST port has failed")
    finally:
        # Without waiting for the pool, as asyncio.Runner would: its work cannot be interrupted.
        loop.close()


async def _settle(tasks: set[asyncio.Task[Any]]) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=1.0)
