"""Header blocks: what a request's says, and those of the answers (gRPC over HTTP2, RFC 9113 §8)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hpack import Decoder, HPACKError, OversizedHeaderListError

from serving.server.h2.frames import ConnectionFault, Reason, StreamFault
from serving.server.status import Code

ACCEPTED_ENCODINGS = "identity, deflate, gzip"
MAX_HEAD_BYTES = 16 * 1024
"""Names and values of one head, and 32 a field more, as SETTINGS_MAX_HEADER_LIST_SIZE counts."""

_DECODER_BYTES = 64 * 1024  # beyond this the connection ends, as decoding stops half-way
_CACHED_BLOCKS = 64
_MAX_DETAIL_CHARACTERS = 1500  # as the grpcio front: clients bound all headers at 8 kB
_MAX_DETAIL_BYTES = 6000  # and this many once it is percent-encoded

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(rb"[\0\r\n]|^[ \t]|[ \t]$")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_TIMEOUT_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_REQUEST_PSEUDO_HEADERS = frozenset((b":method", b":scheme", b":path", b":authority"))
_OF_CONNECTIONS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that the head alone decides.

    Attributes:
        code: The gRPC status.
        message: The gRPC message.
        http_status: The HTTP status; other than 200 where the request is no gRPC.
    """

    code: Code
    message: str
    http_status: int = 200


@dataclass(frozen=True, slots=True)
class Head:
    """What the header block of a request says.

    Attributes:
        path: Full method name.
        timeout_s: The client's grpc-timeout, in seconds; None: it waits for ever.
        encoding: grpc-encoding: how messages whose flag says so are compressed.
        content_length: Bytes of all DATA, where the client tells.
        request_id: The client's x-request-id; empty: none.
        refusal: Why the request cannot be served, whatever its message; None: it can.
    """

    path: str
    timeout_s: float | None = None
    encoding: str = "identity"
    content_length: int | None = None
    request_id: str = ""
    refusal: Refusal | None = None


class HeadReader:
    """Reads the header blocks of one connection, in their order.

    A client's block is mostly the same few bytes again: indices into the dynamic table. Such a
    block, one that changes no entry of the table, means the same until another changes it: it is
    looked up, not decoded again.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(_DECODER_BYTES)
        self._known: dict[bytes, Head] = {}

    def read(self, block: bytes) -> Head:
        """The head of a request.

        Raises:
            StreamFault: The request is malformed.
            ConnectionFault: The block cannot be decoded.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        table = self._decoder.header_table
        entries = table.dynamic_entries
        before = (entries[0] if entries else None, len(entries), table.maxsize)
        try:
            fields = self.decode(block)
        finally:
            after = (entries[0] if entries else None, len(entries), table.maxsize)
            changed = before[0] is not after[0] or before[1:] != after[1:]
            if changed:
                self._known.clear()
        head = parse_head(fields)
        if not changed and len(self._known) < _CACHED_BLOCKS:
            self._known[block] = head
        return head

    def decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """The fields of any block, as trailers are one.

        Raises:
            ConnectionFault: The block cannot be decoded; neither could the next.
        """
        try:
            return [(field[0], field[1]) for field in self._decoder.decode(block, raw=True)]  # type: ignore[misc]
        except OversizedHeaderListError:
            raise ConnectionFault(Reason.ENHANCE_YOUR_CALM, "headers are too large") from None
        except (HPACKError, IndexError, UnicodeError) as error:
            raise ConnectionFault(Reason.COMPRESSION_ERROR, "headers are no HPACK") from error


def parse_head(fields: Iterable[tuple[bytes, bytes]]) -> Head:
    """The head of a request from its fields.

    Raises:
        StreamFault: The request is malformed (RFC 9113, sections 8.2 and 8.3).
    """
    values: dict[bytes, bytes] = {}
    regular, size = False, 0
    for name, value in fields:
        size += len(name) + len(value) + 32
        if name.startswith(b":"):
            if regular or name in values or name not in _REQUEST_PSEUDO_HEADERS:
                raise _malformed("pseudo-headers are out of place")
        else:
            regular = True
            check_field(name, value)
        values[name] = value
    if not (values.get(b":method") and values.get(b":scheme") and values.get(b":path")):
        raise _malformed("a pseudo-header is missing")
    timeout_s, timeout_refusal = _read_timeout(values.get(b"grpc-timeout"))
    length = values.get(b"content-length")
    if length is not None and not (length.isdigit() and len(length) < 20):
        raise _malformed("content-length is no number")
    refusal = _refuse(values, size) or timeout_refusal
    return Head(
        path=values[b":path"].decode("latin-1"),
        timeout_s=timeout_s,
        encoding=values.get(b"grpc-encoding", b"identity").decode("latin-1"),
        content_length=None if length is None else int(length),
        request_id=values.get(b"x-request-id", b"").decode("latin-1"),
        refusal=refusal,
    )


def check_field(name: bytes, value: bytes) -> None:
    """Checks one field that is no pseudo-header.

    Raises:
        StreamFault: HTTP/2 does not allow it.
    """
    if not _NAME.fullmatch(name) or _BAD_VALUE.search(value):
        raise _malformed("a field has characters that are not allowed")
    if name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):
        raise _malformed("a field is of HTTP/1.1 connections")


def _malformed(detail: str) -> StreamFault:
    return StreamFault(Reason.PROTOCOL_ERROR, detail)


def _refuse(values: dict[bytes, bytes], size: int) -> Refusal | None:
    """HTTP statuses and messages as grpc-go's for requests that are no gRPC."""
    if size > MAX_HEAD_BYTES:
        return Refusal(Code.RESOURCE_EXHAUSTED, "received metadata size exceeds hard limit")
    kind = values.get(b"content-type", b"")
    if kind != b"application/grpc" and not kind.startswith(
        (b"application/grpc+", b"application/grpc;")
    ):
        text = kind.decode("latin-1")
        return Refusal(
            Code.INVALID_ARGUMENT, f'invalid gRPC request content-type "{text}"', http_status=415
        )
    if values[b":method"] != b"POST":
        text = values[b":method"].decode("latin-1")
        return Refusal(
            Code.INTERNAL,
            f'Received a HEADERS frame with :method "{text}" which should be POST',
            http_status=405,
        )
    return None


def _read_timeout(text: bytes | None) -> tuple[float | None, Refusal | None]:
    if text is None:
        return None, None
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        message = f'malformed grpc-timeout: "{text.decode("latin-1")}"'
        return None, Refusal(Code.INTERNAL, message, http_status=400)
    return int(match[1]) * _TIMEOUT_UNITS[match[2]], None


def _literal(name: str, value: str) -> bytes:
    """A field as a literal without indexing: it needs no table, so every answer's are the same."""
    return b"\0" + _string(name.encode()) + _string(value.encode("latin-1"))


def _string(text: bytes) -> bytes:
    rest = len(text) - 127
    if rest < 0:
        return bytes([len(text)]) + text
    size = bytearray([127])
    while rest >= 128:
        size.append(rest % 128 + 128)
        rest //= 128
    size.append(rest)
    return bytes(size) + text


_GRPC_TYPE = _literal("content-type", "application/grpc")
_ACCEPTS = _literal("grpc-accept-encoding", ACCEPTED_ENCODINGS)
_STATUS_200 = b"\x88"  # an entry of the static table

OK_HEAD = _STATUS_200 + _GRPC_TYPE + _ACCEPTS
"""The header block that comes before an answer's message."""

OK_TRAILERS = _literal("grpc-status", "0")
"""The header block that comes after the last message."""


def error_trailers(code: Code, message: str) -> bytes:
    """The header block that ends a stream with an error after messages were sent."""
    fields = _literal("grpc-status", str(int(code)))
    return fields + _literal("grpc-message", percent_encoded(message)) if message else fields


def error_head(code: Code, message: str, http_status: int = 200) -> bytes:
    """The only header block of an answer without a message ("Trailers-Only")."""
    status = _STATUS_200 if http_status == 200 else _literal(":status", str(http_status))
    return status + _GRPC_TYPE + _ACCEPTS + error_trailers(code, message)


def percent_encoded(message: str) -> str:
    """grpc-message: UTF-8, with bytes outside of printable ASCII, and %, as %XX; bounded."""
    pieces: list[str] = []
    size = 0
    for character in message[:_MAX_DETAIL_CHARACTERS]:
        piece = character
        if not " " <= character <= "~" or character == "%":
            piece = "".join(f"%{byte:02X}" for byte in character.encode(errors="replace"))
        size += len(piece)
        if size > _MAX_DETAIL_BYTES:
            break
        pieces.append(piece)
    return "".join(pieces)
