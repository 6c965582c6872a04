"""One HTTP connection: uvicorn's, with what it lacks for clients as they are.

A request's head is bounded in time and size: uvicorn lets a client that sends half a head hold its
connection for ever, and one that never ends its head fill the memory. And an offer to upgrade to
HTTP/2, which Java's client makes with every request, is passed over: httptools would take the
request's body for the other protocol's first bytes.
"""

from __future__ import annotations

import asyncio
import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# More than one read of the socket (256 KiB), as the first may hold the end of another body.
_MAX_HEAD_BYTES = 512 * 1024
_UPGRADE = re.compile(rb"(?<=\r\n)upgrade:", re.IGNORECASE)


class Connection(HttpToolsProtocol):
    """Closes itself if a head does not come within uvicorn's `timeout_keep_alive`."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            data = _without_upgrade(data)
        super().data_received(data)
        if self._head_timer is None:
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        self._start_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_timer()
        self._head_bytes = 0
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _without_upgrade(data: bytes) -> bytes:
    """Renames the header where the head is in one read, as such clients send it."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or not _UPGRADE.search(data, 0, end):
        return data
    return _UPGRADE.sub(b"x-upgrade:", data[:end]) + data[end:]
