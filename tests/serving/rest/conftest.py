"""REST servers over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from serving.server.core import ServerCore
from serving.server.rest import RestServer, build_app, start_rest


@pytest.fixture
def start(
    kinds_core: ServerCore, handlers: dict[str, Any]
) -> Iterator[Callable[..., tuple[RestServer, str]]]:
    """Starts a server with settings of its own: `start(cors=True, server={"threads": 1})`."""
    running = []

    def begin(
        *,
        core: ServerCore = kinds_core,
        methods: dict[str, Any] = handlers,
        server: dict[str, Any] | None = None,
        **settings: Any,
    ) -> tuple[RestServer, str]:
        app = build_app(core, methods, **settings)
        rest = start_rest(app, 0, "127.0.0.1", **{"threads": 4, **(server or {})})
        running.append(rest)
        return rest, f"http://127.0.0.1:{rest.port}"

    yield begin
    for rest in running:
        rest.stop(0)


@pytest.fixture(scope="session")
def rest_server(kinds_core: ServerCore, handlers: dict[str, Any]) -> Iterator[RestServer]:
    app = build_app(kinds_core, handlers, metrics=lambda: b"requests 1\n", max_body_bytes=2**20)
    server = start_rest(app, 0, "127.0.0.1", threads=4)
    yield server
    server.stop(0)


@pytest.fixture(scope="session")
def http(rest_server: RestServer) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"http://127.0.0.1:{rest_server.port}", trust_env=False, timeout=30
    ) as client:
        yield client


@pytest.fixture(scope="session")
def post(http: httpx.Client) -> Callable[..., httpx.Response]:
    """Posts JSON to a model: `post("kinds", "predict", {...})`."""

    def send(model: str, operation: str, document: Any) -> httpx.Response:
        return http.post(f"/v1/models/{model}:{operation}", content=json.dumps(document))

    return send
