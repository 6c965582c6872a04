"""Where a REST port listens: addresses, ports that are taken, TLS and mutual TLS."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
import pytest

from serving.server.rest import RestServer, build_app
from serving.server.rest.server import start_rest, tls_context
from tests.serving.certificates import self_signed
from tfx_pipeline.errors import ServingError


def send(url: str, **settings: Any) -> httpx.Response:
    body = b'{"inputs": [[1, 2]]}'
    url += "/v1/models/kinds:predict"
    return httpx.post(url, content=body, trust_env=False, timeout=30, **settings)


def test_a_port_that_is_taken(rest_server: RestServer) -> None:
    with pytest.raises(ServingError, match=f"cannot listen on port {rest_server.port} of") as error:
        start_rest(lambda *_: None, rest_server.port, "127.0.0.1", threads=1)
    assert "--rest_api_port" in str(error.value.hint)


def test_ipv6(kinds_core: Any, handlers: dict[str, Any]) -> None:
    server = start_rest(build_app(kinds_core, handlers), 0, "::1", threads=1)
    try:
        assert send(f"http://[::1]:{server.port}").json() == {"outputs": [3.0]}
    finally:
        server.stop(0)


def test_tls(start) -> None:
    key, certificate = self_signed()
    server, _ = start(server={"ssl_context": tls_context(key, certificate)})
    trusting = ssl.create_default_context(cadata=certificate)
    assert send(f"https://localhost:{server.port}", verify=trusting).json() == {"outputs": [3.0]}
    with pytest.raises(httpx.ConnectError):
        send(f"https://localhost:{server.port}")
    with pytest.raises(httpx.TransportError):
        send(f"http://localhost:{server.port}")


def test_mutual_tls(start, tmp_path: Any) -> None:
    key, certificate = self_signed()
    client_key, client_certificate = self_signed()
    context = tls_context(key, certificate, client_ca=client_certificate)
    server, _ = start(server={"ssl_context": context})
    trusting = ssl.create_default_context(cadata=certificate)
    with pytest.raises(httpx.TransportError):
        send(f"https://localhost:{server.port}", verify=trusting)
    pem = tmp_path / "client.pem"
    pem.write_text(client_key + client_certificate)
    trusting.load_cert_chain(pem)
    assert send(f"https://localhost:{server.port}", verify=trusting).json() == {"outputs": [3.0]}


def test_tls_keys_that_do_not_fit() -> None:
    (key, _), (_, certificate) = self_signed(), self_signed()
    with pytest.raises(ServingError, match="the TLS key or certificate cannot be used"):
        tls_context(key, certificate)
    with pytest.raises(ServingError, match="the TLS key or certificate cannot be used"):
        tls_context("", "")
