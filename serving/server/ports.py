"""Addresses to listen on: told early when they are taken, and alike for every front."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from tfx_pipeline.errors import ServingError

_FREE_PORT = {"port": 0, "rest_api_port": -1}


def check_port(port: int, address: str = "0.0.0.0", flag: str = "port") -> None:
    """Tells early whether a front could listen on a port.

    Args:
        port: TCP port; 0: any.
        address: IP address to listen on.
        flag: Where the port comes from, for the error.

    Raises:
        ServingError: The port is taken or not allowed, or the address is not this machine's.
    """
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
        try:
            probe.bind((address, port))
        except OSError as error:
            raise port_refused(address, port, error.strerror or str(error), flag) from error


def host_port(address: str, port: int) -> str:
    """`127.0.0.1:8500`, `[::1]:8500`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def port_refused(address: str, port: int, reason: str, flag: str = "port") -> ServingError:
    """The error for a port that cannot be listened on."""
    free = f"--{flag}={_FREE_PORT[flag]}"
    return ServingError(
        f"cannot listen on port {port} of {address}: {reason}",
        hint=f"Stop what uses it, choose another port with --{flag}, or {free} for a free one.",
    )


def remove_stale_socket(path: str) -> None:
    """Removes a Unix socket that nobody listens on: what a killed server left.

    Raises:
        OSError: Somebody does.
    """
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, "it is taken by another process")
