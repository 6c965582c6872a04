"""The gRPC transport: carries bytes between sockets and the handlers."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION
from grpc_reflection.v1alpha.reflection import enable_server_reflection

from serving.server.answers import Answer
from serving.server.calls import Call, Handler
from serving.server.ports import host_port, port_refused, remove_stale_socket
from serving.server.status import RequestError
from tfx_pipeline.errors import ServingError

logger = logging.getLogger("assay.serving")

_MAX_DETAIL_CHARACTERS = 1500  # details travel in a header, which clients bound at 8 kB
_NO_DEADLINE_S = 1e9
_SENDERS = 32  # streams whose clients do not read at the same time; more would hold up the others
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def start_grpc(
    handlers: Mapping[str, Handler],
    port: int,
    threads: int,
    address: str = "0.0.0.0",
    *,
    socket_path: str = "",
    credentials: grpc.ServerCredentials | None = None,
    channel_arguments: Sequence[tuple[str, int | str]] = (),
    reflection: bool = False,
) -> tuple[grpc.Server, int]:
    """Listens, and answers with the handlers.

    Args:
        handlers: Full method name to handler; any other method is UNIMPLEMENTED.
        port: TCP port; 0 takes a free one.
        threads: Requests handled at the same time; more wait their turn.
        address: IP address to listen on; 0.0.0.0 is every interface.
        socket_path: A Unix socket to listen on, too; never with TLS.
        credentials: For TLS; None: plaintext.
        channel_arguments: gRPC's own settings, by name; they win over ours.
        reflection: Whether to answer `grpc.reflection.v1alpha`, which tools like grpcurl ask.

    Returns:
        The server, started, and its port.

    Raises:
        ServingError: The port or the socket is taken or not allowed.
    """
    ours: dict[str, int | str] = {
        "grpc.so_reuseport": 0,  # or two servers would share a port, each with half the load
        # No bound, as in TensorFlow Serving: a batch of pictures is large. Who should not be able
        # to fill the memory must not reach the port.
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
    }
    server = grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
        handlers=[_Methods(handlers)],
        options=list({**ours, **dict(channel_arguments)}.items()),
    )
    try:
        where = host_port(address, port)
        if credentials is None:
            bound = server.add_insecure_port(where)
        else:
            bound = server.add_secure_port(where, credentials)
    except RuntimeError:
        bound = 0
    if not bound:
        raise port_refused(address, port, "it is taken by another process, or not allowed")
    if socket_path:
        _listen_on_socket(server, socket_path)
    if reflection:
        enable_server_reflection([*_services(handlers), REFLECTION], server)
    server.start()
    return server, bound


def tls_credentials(key: str, cert: str, ca: str, client_verify: bool) -> grpc.ServerCredentials:
    """Credentials of an SSLConfig.

    Args:
        key: The server's private key, PEM.
        cert: The server's certificate, then those it is signed with, PEM.
        ca: Certificates to check clients' with, PEM; empty: none.
        client_verify: Whether a client must have a certificate (mutual TLS).
    """
    return grpc.ssl_server_credentials(
        [(key.encode(), cert.encode())], ca.encode() or None, client_verify
    )


def _listen_on_socket(server: grpc.Server, path: str) -> None:
    try:
        remove_stale_socket(path)
        bound = server.add_insecure_port(f"unix:{path}")
    except (OSError, RuntimeError):
        bound = 0
    if not bound:
        raise ServingError(
            f"cannot listen on the socket {path}: it is taken, or its folder cannot be written",
            hint="Choose another path with --grpc_socket_path.",
        )


def _services(handlers: Mapping[str, Handler]) -> list[str]:
    return sorted({method.split("/")[1] for method in handlers})


class _Methods(grpc.GenericRpcHandler):
    """Finds the handler of a method, without any (de)serializer: bytes in, bytes out."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix="grpc-send")
        self._methods = {name: _method(handler, senders) for name, handler in handlers.items()}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        return self._methods.get(handler_call_details.method)


def _request_id(context: grpc.ServicerContext) -> str:
    for key, value in context.invocation_metadata():
        if key == "x-request-id":
            return value if isinstance(value, str) else value.decode("latin-1")
    return ""


class _Sender:
    """Sends one stream's messages in order, without making who sends them wait for the client."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._waiting: deque[Callable[[], None]] = deque()
        self._sending = False
        self._lock = threading.Lock()

    def put(self, send: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.append(send)
            if self._sending:
                return
            self._sending = True
        self._threads.submit(self._send)

    def _send(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._sending = False
                    return
                send = self._waiting.popleft()
            send()


def _method(handler: Handler, senders: ThreadPoolExecutor) -> grpc.RpcMethodHandler:
    if getattr(handler, "streams", False):
        return grpc.unary_stream_rpc_method_handler(_stream_with(handler, senders))
    return grpc.unary_unary_rpc_method_handler(_answer_with(handler))


def _answer_with(handler: Handler):  # type: ignore[no-untyped-def]  # grpc has no type for it
    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            response = handler(request, _call(context))
            return response.result() if isinstance(response, Answer) else response
        except Exception as error:  # noqa: BLE001  # logged there
            context.abort(*_status(error))
        raise AssertionError("abort always raises")

    return answer


def _stream_with(handler: Handler, senders: ThreadPoolExecutor):  # type: ignore[no-untyped-def]
    def answer(
        request: bytes, context: grpc.ServicerContext, send: Callable[[bytes | None], None]
    ) -> None:
        sender = _Sender(senders)

        def finish(future: Answer[bytes]) -> None:
            error = future.exception()
            if error is None:
                send(future.result())
            else:
                code, message = _status(error)
                context.set_code(code)
                context.set_details(message)
            send(None)

        call = _call(context)
        call.send = lambda message: sender.put(partial(send, message))
        try:
            stream = handler(request, call)
        except Exception as error:  # noqa: BLE001  # logged there
            context.abort(*_status(error))
        assert isinstance(stream, Answer)
        stream.add_done_callback(
            lambda future: None if future.cancelled() else sender.put(partial(finish, future))
        )
        if not context.add_callback(stream.cancel):
            stream.cancel()

    # As grpc's own health service: or each who watches would keep one of the threads.
    answer.experimental_non_blocking = True  # type: ignore[attr-defined]
    return answer


def _call(context: grpc.ServicerContext) -> Call:
    remaining = context.time_remaining()
    # Without a deadline grpc says None, or some hundred thousand million years.
    has_end = remaining is not None and remaining < _NO_DEADLINE_S
    return Call(time.monotonic() + remaining if has_end else None, _request_id(context))


def _status(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """What the client is told; the log is told what is the server's fault."""
    if isinstance(error, RequestError):
        return _STATUS_CODES[error.code], error.message[:_MAX_DETAIL_CHARACTERS]
    logger.error("a request failed for a reason that is the server's", exc_info=error)
    return grpc.StatusCode.INTERNAL, "internal error; the server's log has the cause"
