"""Whether a cluster is on this machine. Imports nothing heavy."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from tfx_pipeline.config.beam import BeamConfig


def address(master: str) -> tuple[str, int]:
    """Host and port of `host:8081`, `http://host:8081` or `spark://host:7077` (the first of many).

    Raises:
        ValueError: There is no port.
    """
    url = master if "://" in master else f"//{master}"
    parts = urlsplit(url.split(",")[0])
    if not parts.hostname or not parts.port:
        raise ValueError(f"{master!r} has no host and port")
    return parts.hostname, parts.port


def is_here(host: str) -> bool:
    """Whether a host's name or address is this machine's, as far as can be told without asking."""
    if host in ("localhost", socket.gethostname(), socket.getfqdn()):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_elsewhere(beam: BeamConfig) -> bool:
    """Whether Flink or Spark runs on another machine than the one that submits the jobs."""
    if beam.engine not in ("flink", "spark") or beam.embedded:
        return False
    return not is_here(address(beam.master)[0])
