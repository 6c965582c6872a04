"""The gRPC transport: carries bytes between sockets and the handlers."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import grpc

from serving.server.calls import Call, Handler
from serving.server.status import Code, RequestError
from tfx_pipeline.errors import ServingError

logger = logging.getLogger("assay.serving")

_MAX_DETAIL_CHARACTERS = 1500  # details travel in a header, which clients bound at 8 kB
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def start_grpc(
    handlers: Mapping[str, Handler], port: int, threads: int, address: str = "0.0.0.0"
) -> tuple[grpc.Server, int]:
    """Listens, and answers with the handlers.

    Args:
        handlers: Full method name to handler; any other method is UNIMPLEMENTED.
        port: TCP port; 0 takes a free one.
        threads: Requests handled at the same time; more wait their turn.
        address: IP address to listen on; 0.0.0.0 is every interface.

    Returns:
        The server, started, and its port.

    Raises:
        ServingError: The port is taken or not allowed.
    """
    server = grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
        handlers=[_Methods(handlers)],
        options=[
            ("grpc.so_reuseport", 0),  # or two servers would share a port, each with half the load
            # No bound, as in TensorFlow Serving: a batch of pictures is large. Who should not be
            # able to fill the memory must not reach the port.
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ],
    )
    try:
        bound = server.add_insecure_port(host_port(address, port))
    except RuntimeError:
        bound = 0
    if not bound:
        raise _refused(address, port, "it is taken by another process, or not allowed")
    server.start()
    return server, bound


def check_port(port: int, address: str = "0.0.0.0") -> None:
    """Tells early whether `start_grpc` could listen on a port.

    Raises:
        ServingError: The port is taken or not allowed, or the address is not this machine's.
    """
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
        try:
            probe.bind((address, port))
        except OSError as error:
            raise _refused(address, port, error.strerror or str(error)) from error


def host_port(address: str, port: int) -> str:
    """`127.0.0.1:8500`, `[::1]:8500`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _refused(address: str, port: int, reason: str) -> ServingError:
    return ServingError(
        f"cannot listen on port {port} of {address}: {reason}",
        hint="Stop what uses it, choose another port with --port, or --port=0 for a free one.",
    )


class _Methods(grpc.GenericRpcHandler):
    """Finds the handler of a method, without any (de)serializer: bytes in, bytes out."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._methods = {
            name: grpc.unary_unary_rpc_method_handler(_answer_with(handler))
            for name, handler in handlers.items()
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        return self._methods.get(handler_call_details.method)


def _answer_with(handler: Handler):  # type: ignore[no-untyped-def]  # grpc has no type for it
    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            remaining = context.time_remaining()
            call = Call(None if remaining is None else time.monotonic() + remaining)
            response = handler(request, call)
            return response.result() if isinstance(response, Future) else response
        except RequestError as error:
            code, message = error.code, error.message
        except Exception:
            logger.exception("a request failed for a reason that is the server's")
            code, message = Code.INTERNAL, "internal error; the server's log has the cause"
        context.abort(_STATUS_CODES[code], message[:_MAX_DETAIL_CHARACTERS])
        raise AssertionError("abort always raises")

    return answer
