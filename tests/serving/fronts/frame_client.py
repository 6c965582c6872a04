"""HTTP/2 frame by frame, made by hand."""

from __future__ import annotations

import socket

import h2.errors
import hpack
import hyperframe.frame

from tests.serving.fronts.echo import TIMEOUT_S


class FrameClient:
    """Single frames, right or wrong, and what comes back as frames."""

    def __init__(self, port: int, *first: hyperframe.frame.Frame) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._unread = b""
        self.decoder = hpack.Decoder()
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.send(*(first or [hyperframe.frame.SettingsFrame(0)]))

    def send(self, *frames: hyperframe.frame.Frame | bytes) -> None:
        parts = (each if isinstance(each, bytes) else each.serialize() for each in frames)
        self.socket.sendall(b"".join(parts))

    def read(self) -> hyperframe.frame.Frame | None:
        """The next frame; None: the server has closed."""
        while len(self._unread) < 9 or len(self._unread) < 9 + self._size():
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._unread += data
        frame, size = hyperframe.frame.Frame.parse_frame_header(memoryview(self._unread[:9]))
        frame.parse_body(memoryview(self._unread[9 : 9 + size]))
        self._unread = self._unread[9 + size :]
        return frame

    def until(self, kind: type[hyperframe.frame.Frame]) -> hyperframe.frame.Frame:
        """The next frame of a kind, but for what acknowledges."""
        while (frame := self.read()) is not None:
            if isinstance(frame, kind) and "ACK" not in frame.flags:
                return frame
        raise AssertionError(f"closed without {kind.__name__}")

    def fields(self, frame: hyperframe.frame.Frame) -> dict[str, str]:
        return dict(self.decoder.decode(frame.data))

    def goaway(self) -> str:
        """Reads until the server closes; the name of the error that it gave last."""
        reason = None
        while (frame := self.read()) is not None:
            if isinstance(frame, hyperframe.frame.GoAwayFrame):
                reason = h2.errors.ErrorCodes(frame.error_code).name
        return str(reason)

    def close(self) -> None:
        self.socket.close()

    def _size(self) -> int:
        return int.from_bytes(self._unread[:3])
