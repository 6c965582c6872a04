"""What the blocking and the asynchronous gRPC client have in common: channels and failures."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError

from serving.client.connection import Connection
from serving.client.errors import RequestFailed, hint_for, request_failed
from serving.client.grpc_codec import GrpcCall
from tfx_pipeline.errors import ConfigError

_KEEPALIVE_TIMEOUT_MS = 10_000
_UNBOUNDED = -1


def target(address: str) -> str:
    """The address as gRPC takes it: `host:port`, `unix:/path`, `dns:///name:port`.

    Raises:
        ConfigError: It is a URL of HTTP.
    """
    if address.startswith(("http://", "https://")):
        raise ConfigError(
            f"{address} is no gRPC address",
            hint="Use RestClient for HTTP (--rest), or `host:port` of the gRPC port.",
        )
    return address.removeprefix("grpc://")


def open_channel(grpc_module: Any, address: str, connection: Connection) -> Any:
    """A channel; it connects at the first call.

    Args:
        grpc_module: `grpc` or `grpc.aio`.
        address: As in `target`.
        connection: TLS, keepalive and bounds.
    """
    bound = _UNBOUNDED if connection.max_message_bytes is None else connection.max_message_bytes
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", bound),
        ("grpc.max_send_message_length", bound),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.enable_retries", 0),  # or gRPC would try again beside us
    ]
    if connection.own_socket:
        options.append(("grpc.use_local_subchannel_pool", 1))
    if connection.keepalive_s is not None:
        options += [
            ("grpc.keepalive_time_ms", int(1000 * connection.keepalive_s)),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ]
    tls = connection.tls
    if tls is None:
        return grpc_module.insecure_channel(target(address), options=options)
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(
        tls.read(tls.root_certificates), tls.read(tls.private_key), tls.read(tls.certificate)
    )
    return grpc_module.secure_channel(target(address), credentials, options=options)


def headers(connection: Connection) -> list[tuple[str, str]]:
    """The headers of each call as gRPC's metadata."""
    return [(name.lower(), value) for name, value in connection.headers.items()]


def is_unavailable(error: grpc.RpcError) -> bool:
    """Whether another attempt may succeed."""
    return bool(error.code() is grpc.StatusCode.UNAVAILABLE)


def failure(error: grpc.RpcError, address: str, model_name: str, timeout_s: float) -> RequestFailed:
    """The error of a call that ended in a status other than OK."""
    code, message = error.code().name, error.details() or ""
    hint = hint_for(code, message, address=address, model_name=model_name, timeout_s=timeout_s)
    return request_failed(code, message, address, hint)


def read_answer(call: GrpcCall, data: bytes, address: str) -> Any:
    """The answer of a call that succeeded.

    Raises:
        RequestFailed: INTERNAL, where the bytes are no answer.
    """
    try:
        return call.read(data)
    except (DecodeError, ValueError) as error:
        raise request_failed(
            "INTERNAL",
            f"the answer cannot be read: {error}",
            address,
            "The endpoint may not be one of TensorFlow Serving.",
        ) from error
