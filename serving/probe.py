"""Finds out which protocol a port speaks, to tell a user who has asked it in another."""

from __future__ import annotations

import enum
import socket
import ssl

# The beginning of an HTTP/2 connection (RFC 9113, 3.4) with an empty SETTINGS frame. A server of
# HTTP/1.1 refuses the method, one of TLS sends an alert.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
_FRAME_TYPE = 3
_SETTINGS, _GOAWAY = 4, 7
_TLS_ALERT = b"\x15\x03"


class Protocol(enum.Enum):
    """What a port was seen to speak."""

    NOTHING = "nothing"
    HTTP1 = "HTTP/1.1"
    HTTP2 = "HTTP/2"
    TLS = "TLS"
    UNKNOWN = "unknown"


def what_speaks(host: str, port: int, timeout_s: float = 1.0) -> Protocol:
    """The protocol that answers on a port; NOTHING where no connection is taken.

    Args:
        host: Name or address.
        port: TCP port.
        timeout_s: How long to wait for a connection, and then for an answer.
    """
    try:
        connection = socket.create_connection((host, port), timeout_s)
    except (OSError, OverflowError):
        return Protocol.NOTHING
    with connection:
        try:
            connection.sendall(_PREFACE)
            answer = connection.recv(64)
        except TimeoutError:
            return Protocol.UNKNOWN
        except OSError:
            answer = b""
    if not answer:  # Not every server of TLS says why it hangs up.
        return Protocol.TLS if _shakes_hands(host, port, timeout_s) else Protocol.UNKNOWN
    if answer.startswith(b"HTTP/1."):
        return Protocol.HTTP1
    if answer.startswith(_TLS_ALERT):
        return Protocol.TLS
    if len(answer) > _FRAME_TYPE and answer[_FRAME_TYPE] in (_SETTINGS, _GOAWAY):
        return Protocol.HTTP2
    return Protocol.UNKNOWN


def _shakes_hands(host: str, port: int, timeout_s: float) -> bool:
    """Whether the port answers a TLS handshake, be it with a refusal. Nothing is sent after it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout_s) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
