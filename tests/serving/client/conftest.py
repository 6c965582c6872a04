"""Endpoints for the clients: a server built with TensorFlow Serving's own stubs, and ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from serving.client import AsyncClient, Client, RestClient
from serving.server.core import ServerCore
from serving.server.grpc_front import start_grpc
from serving.server.rest import build_app, start_rest
from tests.serving.client.mutual_tls import Certificates, make_certificates
from tests.serving.client.scripted_server import Scripted
from tests.serving.client.stock_server import StockServer, serve


@pytest.fixture(scope="session")
def _stock_running() -> Iterator[tuple[StockServer, str]]:
    servicer = StockServer()
    server, port = serve(servicer)
    yield servicer, f"127.0.0.1:{port}"
    server.stop(0)


@pytest.fixture
def stock(_stock_running: tuple[StockServer, str]) -> StockServer:
    servicer, _ = _stock_running
    servicer.reset()
    return servicer


@pytest.fixture
def stock_client(stock: StockServer, _stock_running: tuple[StockServer, str]) -> Iterator[Client]:
    with Client(_stock_running[1]) as client:
        yield client


@dataclass(frozen=True)
class Endpoints:
    """Our server's two ports, with the same models: `taxi` version 7 (label `stable`), `kinds`."""

    grpc: str
    rest: str
    handlers: dict[str, Any]
    core: ServerCore


@pytest.fixture(scope="session")
def endpoints(kinds_core: ServerCore, handlers: dict[str, Any]) -> Iterator[Endpoints]:
    server, port = start_grpc(handlers, 0, 8, "127.0.0.1")
    rest = start_rest(build_app(kinds_core, handlers), 0, "127.0.0.1", threads=4)
    yield Endpoints(f"127.0.0.1:{port}", f"http://127.0.0.1:{rest.port}", handlers, kinds_core)
    rest.stop(0)
    server.stop(0).wait()


class Awaited:
    """`AsyncClient` with methods that block, so that one test serves all three clients."""

    def __init__(self, address: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(address, **options)
        self.address = address

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *args, **options: self._runner.run(_awaited(method, args, options))

    def __enter__(self) -> Awaited:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


async def _awaited(method: Callable[..., Any], args: Any, options: Any) -> Any:
    return await method(*args, **options)


@pytest.fixture(params=["grpc", "aio", "rest"])
def connect(request: pytest.FixtureRequest, endpoints: Endpoints) -> Iterator[Callable[..., Any]]:
    """Makes a client of each kind: `connect(check_inputs=False)`."""
    kinds = {"grpc": Client, "aio": Awaited, "rest": RestClient}
    made = []

    def make(**options: Any) -> Any:
        address = endpoints.rest if request.param == "rest" else endpoints.grpc
        made.append(kinds[request.param](address, **options))
        return made[-1]

    yield make
    for client in made:
        client.__exit__(None, None, None)


@pytest.fixture
def any_client(connect: Callable[..., Any]) -> Any:
    return connect()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def make(*scripts: tuple[bytes, bool]) -> Scripted:
        made.append(Scripted(*scripts))
        return made[-1]

    yield make
    for server in made:
        server.close()
