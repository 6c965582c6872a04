"""How a client connects: TLS, keepalive, bounds, and the pauses between attempts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tfx_pipeline.errors import ConfigError

RETRIES = 3
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0


@dataclass(frozen=True)
class Tls:
    """TLS to the server; with a certificate of one's own, mutual TLS. Files are PEM.

    Attributes:
        root_certificates: Who may sign the server's certificate; None trusts the usual ones.
        certificate: The client's certificate (chain).
        private_key: The key of `certificate`.
        server_name: The name that the server's certificate has, where it is not the address's.
    """

    root_certificates: str | Path | None = None
    certificate: str | Path | None = None
    private_key: str | Path | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.private_key is None):
            raise ConfigError(
                "a client certificate and its private key go together",
                hint="Give both Tls(certificate=..., private_key=...) (--tls-cert, --tls-key).",
            )

    def read(self, path: str | Path | None) -> bytes | None:
        """The bytes of one of the files; None for None.

        Raises:
            ConfigError: It cannot be read.
        """
        if path is None:
            return None
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"cannot read a TLS file: {error.strerror}",
                where=str(path),
                hint="Name a PEM file that this user may read.",
            ) from error


@dataclass(frozen=True)
class Connection:
    """The settings that all three clients share.

    Attributes:
        tls: How to encrypt; None sends in the clear.
        keepalive_s: Seconds between two signs of life while a request waits; None sends none.
            Servers built on gRPC close a connection that pings more than once in five minutes,
            unless they were told to permit it.
        max_message_bytes: The largest request and answer; None sets no bound.
        headers: Sent with every request, for instance `authorization` (over gRPC in lower case).
        own_socket: gRPC's channels to one address share a socket; whether this one shall not.
    """

    tls: Tls | None = None
    keepalive_s: float | None = None
    max_message_bytes: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    own_socket: bool = False


def pauses() -> Iterator[float]:
    """Seconds to wait before each new attempt: doubling, and random by half, so that clients whom
    one fault has hit at once do not come back at once."""
    pause = _FIRST_PAUSE_S
    for _ in range(RETRIES):
        yield pause * random.uniform(0.5, 1.5)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
