"""A server that says what it is told to, for what a client does about answers that are wrong."""

from __future__ import annotations

import socket
import threading


class Scripted:
    """A TCP server that answers each request with the next script: bytes, then perhaps a close.

    Attributes:
        connections: Connections taken so far.
        requests: What was received, a piece each.
    """

    def __init__(self, *scripts: tuple[bytes, bool]) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self._scripts = list(scripts)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._scripts:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                while self._scripts:
                    received = connection.recv(1 << 16)
                    if not received:
                        break
                    self.requests.append(received)
                    answer, stays = self._scripts.pop(0)
                    connection.sendall(answer)
                    if not stays:
                        break

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
