"""The options by which commands reach a server, and what they say when they do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from serving.client import BlockingClient, Tls

RestOption = Annotated[
    bool, typer.Option("--rest", help="Speak REST; http:// in the address says so too.")
]
TimeoutOption = Annotated[float, typer.Option(help="Seconds a request may take.")]
TlsOption = Annotated[
    bool, typer.Option("--tls", help="Encrypt, trusting the usual authorities; https:// too.")
]
TlsCaOption = Annotated[
    str, typer.Option(metavar="PEM", help="Who signed the server's certificate.")
]
TlsCertOption = Annotated[
    str, typer.Option(metavar="PEM", help="A client certificate, for mutual TLS.")
]
TlsKeyOption = Annotated[str, typer.Option(metavar="PEM", help="The key of --tls-cert.")]
TlsNameOption = Annotated[
    str, typer.Option(metavar="NAME", help="The server certificate's name, if not the address's.")
]


def tls_options(use: bool, ca: str, cert: str, key: str, name: str) -> Tls | None:
    """The TLS that the options mean; None for none."""
    from serving.client import Tls

    if not (use or ca or cert or key or name):
        return None
    return Tls(ca or None, cert or None, key or None, name)


def is_rest(address: str, rest: bool) -> bool:
    """Whether the address, or the option, means REST."""
    return rest or address.startswith(("http://", "https://"))


def connect(
    address: str, *, rest: bool = False, timeout_s: float = 10.0, tls: Tls | None = None
) -> BlockingClient:
    """A client of the server at an address: REST for http(s):// or `rest`, else gRPC."""
    import os

    # Before gRPC is imported: else its core writes lines of its own beside our message.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from serving.client import Client, RestClient

    if not is_rest(address, rest):
        return Client(address, timeout_s, tls=tls)
    if "://" not in address:
        address = f"{'http' if tls is None else 'https'}://{address}"
    return RestClient(address, timeout_s, tls=tls)


@contextmanager
def explained(address: str, *, rest: bool, tls: bool) -> Iterator[None]:
    """Where no answer came, looks at what speaks on the port and says what to do about it."""
    from serving.client import RequestFailed

    try:
        yield
    except RequestFailed as error:
        if error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION"):
            hint = _protocol_hint(address, is_rest(address, rest), tls or "https://" in address)
            error.hint = hint or error.hint
        raise


def _protocol_hint(address: str, is_http: bool, is_tls: bool) -> str:
    from serving.probe import Protocol, what_speaks

    host, port = _host_port(address)
    if not host:
        return ""
    plain = f"{host}:{port}"
    match what_speaks(host, port):
        case Protocol.HTTP1 if not is_http:
            return f"That port speaks HTTP/1.1, as REST does: --address http://{plain}."
        case Protocol.HTTP2 if is_http:
            return f"That port speaks HTTP/2, as gRPC does: --address {plain}, without --rest."
        case Protocol.HTTP1 | Protocol.HTTP2 if is_tls:
            return "That port speaks no TLS: leave --tls, --tls-ca and https:// out."
        case Protocol.TLS if not is_tls:
            return "That port speaks TLS: add --tls, or --tls-ca ca.pem for an authority of yours."
    return ""


def _host_port(address: str) -> tuple[str, int]:
    from urllib.parse import urlsplit

    if address.startswith("unix:"):
        return "", 0
    try:
        url = urlsplit(address if "://" in address else f"//{address}")
        return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        return "", 0
