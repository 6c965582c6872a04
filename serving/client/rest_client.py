"""The REST client: the methods of `Client` over TensorFlow Serving's HTTP API."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from typing import Any

from serving.client.blocking import BlockingClient
from serving.client.connection import Connection, Tls, pauses
from serving.client.errors import RequestFailed, hint_for, request_failed
from serving.client.http_pool import Answer, HttpPool, TooLarge
from serving.client.operations import Operation
from serving.client.rest_codec import RestCall, encode

# As tensorflow/serving's model_servers/http_server.cc maps them, the other way round.
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_SHOWN_CHARACTERS = 300


class RestClient(BlockingClient):
    """A client of a model server's REST API. See `BlockingClient` for what it can be asked.

    JSON costs several times what gRPC does, and complex numbers cannot be sent. Dtypes of outputs
    are those of the model's signature; with `check_inputs=False` they are guessed, and a single
    output is named `outputs`.

    Args:
        address: `http://host:8501` or `https://host:8501`.
        timeout_s: Seconds a request may take, all attempts together.
        tls: Whom to trust, and a client certificate; None with `https://` trusts the usual ones.
        keepalive_s: Idle seconds after which TCP asks whether the server is there.
        max_message_bytes: The largest answer; None sets no bound.
        headers: Sent with every request.
        check_inputs: Whether to fetch the model's signature and hold inputs against it.
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
        self._pool = HttpPool(address, connection)

    def close(self) -> None:
        """Closes the connections."""
        self._pool.close()

    def _perform(self, operation: Operation) -> Any:
        call = encode(operation)
        deadline = time.monotonic() + self.timeout_s
        waits = pauses()
        while True:
            try:
                return self._once(call, operation.model.name, deadline)
            except RequestFailed as error:
                pause = next(waits, None) if error.code == "UNAVAILABLE" else None
                if pause is None or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)

    def _once(self, call: RestCall, model_name: str, deadline: float) -> Any:
        try:
            answer = self._pool.request(call.path, call.body, deadline)
        except (OSError, http.client.HTTPException, TooLarge) as error:
            code, message = _transport_failure(error)
            raise self._failure(code, message, model_name) from error
        if answer.status != 200:
            code = _CODES.get(answer.status, "UNKNOWN")
            raise self._failure(code, _error_text(answer), model_name)
        try:
            return call.read(json.loads(answer.body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise request_failed(
                "INTERNAL",
                f"the answer cannot be read: {type(error).__name__}: {error}",
                self.address,
                "The endpoint may not be one of TensorFlow Serving.",
            ) from error

    def _failure(self, code: str, message: str, model_name: str) -> RequestFailed:
        hint = hint_for(
            code,
            message,
            address=self.address,
            model_name=model_name,
            timeout_s=self.timeout_s,
        )
        if code == "UNAVAILABLE" and "assay serve" in hint:
            hint = "Is the server running, and is this the port of its REST API?"
        return request_failed(code, message, self.address, hint)


def _transport_failure(error: Exception) -> tuple[str, str]:
    """The gRPC code and a message for a request that got no answer."""
    text = str(error)
    if isinstance(error, TimeoutError):
        return "DEADLINE_EXCEEDED", "Deadline Exceeded"
    if isinstance(error, TooLarge):
        return "RESOURCE_EXHAUSTED", text
    if isinstance(error, ssl.SSLError):
        # Another attempt would end the same.
        return "FAILED_PRECONDITION", f"TLS failed: {error.reason or text}"
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, ConnectionError):
        first = str(error.args[0]).encode("latin-1", errors="replace")
        if first[:2] == b"\x15\x03":
            return "FAILED_PRECONDITION", "no HTTP/1.1: the answer is TLS"
        if b"\x04\x00\x00\x00\x00\x00" in first or b"\x00\x00" in first:
            return "FAILED_PRECONDITION", "no HTTP/1.1: the answer is HTTP/2, as gRPC speaks it"
        return "FAILED_PRECONDITION", f"no HTTP/1.1: the answer begins with {first[:40]!r}"
    return "UNAVAILABLE", text or type(error).__name__


def _error_text(answer: Answer) -> str:
    try:
        return str(json.loads(answer.body)["error"])
    except (ValueError, KeyError, TypeError):
        text = answer.body[:_SHOWN_CHARACTERS].decode(errors="replace").strip()
        return f"HTTP {answer.status} {answer.reason}" + (f": {text}" if text else "")
