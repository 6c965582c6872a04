"""The ASGI application: paths, bodies, timeouts and HTTP codes around the operations.

Codes and CORS headers are those of http_server.cc and http_rest_api_util.cc of tensorflow/serving.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from serving.server.answers import Answer
from serving.server.calls import Call, Handler
from serving.server.core import ServerCore
from serving.server.observe import Record
from serving.server.rest.api import RestApi
from serving.server.rest.bodies import BodyRefused, ClientGone, Receive, decoded, read_body
from serving.server.rest.openapi import openapi_document
from serving.server.rest.paths import Request, is_api, parse_path
from serving.server.status import Code, RequestError

logger = logging.getLogger("assay.serving")

_T = TypeVar("_T")
_JSON = b"application/json"
_SHUTTING_DOWN = "the server is shutting down"
_ORIGIN = re.compile(rb"https?://")
_APIS = {"predict": "Predict", "classify": "Classify", "regress": "Regress"}
_CORS_HEADERS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]
_HTTP_STATUS = {
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}

App = Callable[[dict[str, Any], Receive, Callable[[dict[str, Any]], Awaitable[None]]], Any]


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes
    content_type: bytes = _JSON
    close: bool = False


def build_app(
    core: ServerCore,
    handlers: Mapping[str, Handler],
    *,
    cors: bool = False,
    timeout_s: float = 30.0,
    max_body_bytes: int = 2**31 - 1,
    metrics: Callable[[], bytes] | None = None,
    metrics_path: str = "/monitoring/prometheus/metrics",
    body_timeout_s: float = 60.0,
    record: Record | None = None,
) -> App:
    """The REST API as an ASGI application.

    Work that blocks is done on the event loop's default executor. From `ServerCore.drain` on,
    operations are refused with 503, `/readyz` says so, and the other pages answer as before. Each
    answer has the request's `x-request-id`, or one that is made for it.

    Args:
        core: The models.
        handlers: The gRPC handlers, by full method name. What is missing answers 501.
        cors: Answer preflights, and let every origin read the answers.
        timeout_s: How long a request may take once its body is there; then 504. 0: for ever.
        max_body_bytes: The largest body, compressed or not; then 413.
        metrics: The page of metrics in Prometheus' text format; None: there is none.
        metrics_path: Its path.
        body_timeout_s: How long a client may take to send a body; then 408.
        record: Is told of requests that fail before a handler has seen them.
    """
    api = RestApi(core, handlers)
    # A probe is answered on the event loop: it must not wait for a thread that requests keep busy.
    probes: dict[str, Callable[[], _Reply]] = {
        "/healthz": lambda: _Reply(200, b'{"status": "ok"}\n'),
        "/readyz": lambda: _readiness(core, api),
    }
    pages: dict[str, Callable[[], _Reply]] = {
        "/openapi.json": lambda: _Reply(200, openapi_document(core)),
    }
    if metrics is not None:
        page = metrics
        pages[metrics_path] = lambda: _Reply(200, page(), b"text/plain")

    async def answer(
        scope: dict[str, Any], headers: dict[bytes, bytes], receive: Receive, request_id: str
    ) -> _Reply:
        method, path = scope["method"], scope["raw_path"].decode("latin-1")
        if path in probes or path in pages:
            if method not in ("GET", "HEAD"):
                return _error(405, f"Method {method} is not allowed for {path}")
            return probes[path]() if path in probes else await _in_thread(pages[path])
        # The C++ server matches the path with its query.
        query = scope["query_string"].decode("latin-1")
        path = f"{path}?{query}" if query else path
        if not is_api(path):
            return _error(404, f"Not found: {path}")
        if cors and method == "OPTIONS":
            return _preflight(headers)
        if core.draining:
            raise RequestError(Code.UNAVAILABLE, _SHUTTING_DOWN)
        request = parse_path(method, path)
        body = b""
        if method == "POST":
            body = await read_body(receive, headers, max_body_bytes, body_timeout_s)
        return await run(request, body, headers, request_id)

    async def run(
        request: Request, body: bytes, headers: dict[bytes, bytes], request_id: str
    ) -> _Reply:
        started = time.perf_counter()
        limit_s = timeout_s if timeout_s > 0 else None
        deadline_s = None if limit_s is None else time.monotonic() + limit_s
        call = Call(deadline_s, request_id, entrypoint="REST")

        def work() -> bytes | tuple[Answer[bytes], Callable[[bytes], bytes]]:
            try:
                pending, finish = api.begin(request, decoded(body, headers, max_body_bytes), call)
            except RequestError as error:
                # A handler names the model: without a name, none has seen the request.
                if record and request.operation in _APIS and not call.model_name:
                    call.model_name = request.target.name
                    record(call, _APIS[request.operation], started, error)
                raise
            # A second turn in the pool only where the handler has to wait for others.
            return (pending, finish) if isinstance(pending, Answer) else finish(pending)

        try:
            async with asyncio.timeout(limit_s):
                result = await _in_thread(work)
                if isinstance(result, tuple):
                    pending, finish = result
                    data = await _awaited(pending)
                    result = await _in_thread(lambda: finish(data))
        except TimeoutError:
            raise RequestError(
                Code.DEADLINE_EXCEEDED, "Timed out waiting for notification"
            ) from None
        return _Reply(200, result)

    async def app(
        scope: dict[str, Any],
        receive: Receive,
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        sent = dict(scope["headers"])
        request_id = sent.get(b"x-request-id") or uuid.uuid4().hex.encode()
        try:
            reply = await answer(scope, sent, receive, request_id.decode("latin-1"))
        except RequestError as error:
            reply = _error(_HTTP_STATUS[error.code], error.message)
        except BodyRefused as refusal:
            reply = _error(refusal.status, refusal.message, close=True)
        except ClientGone:
            return
        except asyncio.CancelledError:  # the server stops, and its grace is over
            reply = _error(503, _SHUTTING_DOWN, close=True)
        except Exception:
            logger.exception("a request failed for a reason that is the server's")
            reply = _error(500, "internal error; the server's log has the cause")
        headers = [
            (b"content-type", reply.content_type),
            (b"content-length", str(len(reply.body)).encode()),
            (b"x-request-id", request_id),
        ]
        if cors:
            headers += _CORS_HEADERS
        if reply.close or core.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    return app


async def _in_thread(work: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(None, work)


async def _awaited(answer: Answer[bytes]) -> bytes:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()

    def pass_on() -> None:
        if future.done():  # the time was up
            return
        error = answer.exception()
        if error is None:
            future.set_result(answer.result())
        else:
            future.set_exception(error)

    answer.add_done_callback(lambda _: loop.call_soon_threadsafe(pass_on))
    return await future


def _readiness(core: ServerCore, api: RestApi) -> _Reply:
    if core.draining:
        return _Reply(503, b'{"status": "shutting down"}\n')
    if core.available():
        return _Reply(200, b'{"status": "ready"}\n')
    missing = {"status": "not ready", "unavailable": api.unavailable()}
    return _Reply(503, json.dumps(missing, indent=1).encode() + b"\n")


def _preflight(headers: dict[bytes, bytes]) -> _Reply:
    if _ORIGIN.search(headers.get(b"origin", b"")):
        return _Reply(200, b"")
    return _error(400, "Origin header is missing in CORS preflight")


def _error(status: int, message: str, *, close: bool = False) -> _Reply:
    return _Reply(status, json.dumps({"error": message}, indent=4).encode(), close=close)
