"""The bench's own connections, against grpcio's server, our HTTP/2 front and our REST port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from serving.bench import payloads
from serving.bench.h2_sender import H2Sender
from serving.bench.senders import GrpcSender, HttpSender
from serving.client import Tls
from serving.client.grpc_codec import GrpcCall
from serving.client.operations import Model

MEGABYTES_3 = {"x": np.ones((1 << 18, 3), np.float32)}  # above every first window


def _codes(make: Any, *arguments: Any, count: int = 1) -> list[str]:
    """The codes of some requests on a sender, which belongs to the loop it is made in."""

    async def send() -> list[str]:
        sender = make(*arguments)
        codes = [await sender.send(number) for number in range(count)]
        await sender.close()
        return codes

    return asyncio.run(send())


def _calls(inputs: dict[str, Any], model: str = "taxi") -> list[GrpcCall]:
    return payloads.grpc_calls([inputs], Model(model), "dense")


SMALL = {"x": np.ones((1, 3), np.float32)}


@pytest.mark.parametrize("kind", [GrpcSender, H2Sender])
def test_grpc_codes_and_large_messages(endpoints: Any, kind: type) -> None:
    assert _codes(kind, endpoints.grpc, _calls(SMALL), 10.0, None, count=3) == ["OK"] * 3
    assert _codes(kind, endpoints.grpc, _calls(MEGABYTES_3), 30.0, None, count=2) == ["OK"] * 2
    assert (
        _codes(kind, endpoints.grpc, _calls(SMALL, "no"), 10.0, None, count=2) == ["NOT_FOUND"] * 2
    )
    unknown = [GrpcCall("/tensorflow.serving.PredictionService/No", b"", bytes)]
    assert _codes(kind, endpoints.grpc, unknown, 10.0, None) == ["UNIMPLEMENTED"]
    assert _codes(kind, "127.0.0.1:1", _calls(SMALL), 1.0, None) == ["UNAVAILABLE"]


def test_our_front_in_http2(endpoints: Any) -> None:
    from serving.server.h2_front import start_h2

    started = start_h2(endpoints.handlers, port=0, threads=4, address="127.0.0.1")
    try:
        address = f"127.0.0.1:{started.port}"
        for inputs in (SMALL, MEGABYTES_3):
            assert _codes(H2Sender, address, _calls(inputs), 30.0, None, count=2) == ["OK"] * 2
        assert _codes(H2Sender, address, _calls(SMALL, "no"), 10.0, None) == ["NOT_FOUND"]
    finally:
        started.stop(0)


@pytest.mark.parametrize("shape", [(), (7,), (1 << 15, 3)])
def test_rest_answers_of_any_size(endpoints: Any, shape: tuple[int, ...]) -> None:
    posts = payloads.rest_calls([{"x": np.ones(shape, np.float32)}], Model("kinds"), "float")
    assert _codes(HttpSender, endpoints.rest, posts, 30.0, None, count=2) == ["OK"] * 2


@pytest.fixture
def grpc_server(tmp_path: Path) -> Iterator[Callable[..., tuple[grpc.Server, Any]]]:
    servers = []

    class Echo(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda data, _: data)

    def start(address: str, credentials: Any = None) -> tuple[grpc.Server, int]:
        server = grpc.server(ThreadPoolExecutor(2), handlers=[Echo()])
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
        server.start()
        servers.append(server)
        return server, port

    yield start
    for server in servers:
        server.stop(0).wait()


def test_tls_and_unix_sockets(grpc_server: Any, certificates: Any, tmp_path: Path) -> None:
    credentials = certificates.server_credentials(mutual=True)
    _, port = grpc_server("127.0.0.1:0", credentials)
    tls = Tls(certificates.authority, certificates.client, certificates.client_key)
    calls = [GrpcCall("/any/Method", b"hello", bytes)]
    assert _codes(H2Sender, f"127.0.0.1:{port}", calls, 10.0, tls, count=2) == ["OK"] * 2
    assert _codes(H2Sender, f"127.0.0.1:{port}", calls, 10.0, Tls()) == ["UNAVAILABLE"]
    path = f"unix:{tmp_path}/socket"
    grpc_server(path)
    assert _codes(H2Sender, path, calls, 10.0, None, count=2) == ["OK"] * 2


def test_a_server_that_stops_and_starts(grpc_server: Any) -> None:
    server, port = grpc_server("127.0.0.1:0")
    calls = [GrpcCall("/any/Method", b"hello", bytes)]

    async def send() -> list[str]:
        sender = H2Sender(f"127.0.0.1:{port}", calls, 10.0, None)
        codes = [await sender.send(0)]
        await asyncio.to_thread(server.stop(0).wait)
        codes.append(await sender.send(1))
        grpc_server(f"127.0.0.1:{port}")
        codes.append(await sender.send(2))
        await sender.close()
        return codes

    assert asyncio.run(send()) == ["OK", "UNAVAILABLE", "OK"]


def test_no_answer_within_the_deadline() -> None:
    async def send() -> str:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sender = H2Sender(f"127.0.0.1:{port}", [GrpcCall("/any/Method", b"", bytes)], 0.1, None)
        code = await sender.send(0)
        await sender.close()
        server.close()
        return code

    assert asyncio.run(send()) == "DEADLINE_EXCEEDED"
