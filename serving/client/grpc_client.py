"""The gRPC client: rows or arrays in, arrays out, from any TensorFlow Serving endpoint."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import grpc

from serving.client import grpc_channel
from serving.client.blocking import BlockingClient
from serving.client.connection import Connection, Tls, pauses
from serving.client.grpc_codec import encode
from serving.client.operations import Operation


class Client(BlockingClient):
    """A gRPC connection to a model server. See `BlockingClient` for what it can be asked.

    Args:
        address: `host:port`, or `unix:/path`.
        timeout_s: Seconds a request may take, all attempts together.
        tls: Encrypts; with a client certificate, mutual TLS.
        keepalive_s: See `Connection`.
        max_message_bytes: The largest request and answer; None sets no bound.
        headers: Sent with every request.
        check_inputs: Whether to fetch the model's signature and hold inputs against it; without,
            the server says what is wrong.
    """

    def __init__(
        self,
        address: str,
        timeout_s: float = 10.0,
        *,
        tls: Tls | None = None,
        keepalive_s: float | None = None,
        max_message_bytes: int | None = None,
        headers: Mapping[str, str] | None = None,
        check_inputs: bool = True,
    ) -> None:
        super().__init__(address, timeout_s, check_inputs)
        connection = Connection(tls, keepalive_s, max_message_bytes, headers or {})
        self._headers = grpc_channel.headers(connection)
        self._channel = grpc_channel.open_channel(grpc, address, connection)

    def close(self) -> None:
        """Closes the connection; the client cannot be used any more."""
        self._channel.close()

    def _perform(self, operation: Operation) -> Any:
        call = encode(operation)
        send = self._channel.unary_unary(call.method)
        deadline = time.monotonic() + self.timeout_s
        waits = pauses()
        while True:
            left = max(0.001, deadline - time.monotonic())
            try:
                data = send(call.request, timeout=left, metadata=self._headers)
            except grpc.RpcError as error:
                pause = next(waits, None) if grpc_channel.is_unavailable(error) else None
                if pause is None or time.monotonic() + pause > deadline:
                    name = operation.model.name
                    raise grpc_channel.failure(error, self.address, name, self.timeout_s) from error
                time.sleep(pause)
            else:
                return grpc_channel.read_answer(call, data, self.address)
