"""Handlers that are easy to know the answers of, and a front that carries them."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from serving.server.answers import Answer
from serving.server.calls import Call, Handler
from serving.server.status import Code, RequestError

TIMEOUT_S = 20.0


class Gate:
    """Holds a handler until the test lets it go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.left = threading.Event()

    def pass_through(self) -> None:
        self.entered.set()
        assert self.open.wait(TIMEOUT_S)
        self.left.set()


class Handlers:
    """The methods under /test.Echo/, and what they saw."""

    def __init__(self) -> None:
        self.gates: dict[bytes, Gate] = {}
        self.calls: list[Call] = []
        self.streams: list[Answer[bytes]] = []

    def gate(self, name: str) -> Gate:
        return self.gates.setdefault(name.encode(), Gate())

    def methods(self) -> dict[str, Handler]:
        def inline(data: bytes, call: Call) -> bytes:
            return data

        def future(data: bytes, call: Call) -> Answer[bytes]:
            answer: Answer[bytes] = Answer()
            threading.Thread(target=self._resolve, args=(data, answer)).start()
            return answer

        def each(data: bytes, call: Call) -> bytes:
            if data == b"fail":
                raise RequestError(Code.NOT_FOUND, "none of those")
            return b"<" + data + b">"

        inline.inline = future.inline = True  # type: ignore[attr-defined]

        def stream(data: bytes, call: Call) -> Answer[bytes]:
            """Sends each word, and ends as the last one says; `wait` leaves it open."""
            answer: Answer[bytes] = Answer()
            self.streams.append(answer)
            *words, last = data.split(b" ")
            for word in words:
                assert call.send is not None
                call.send(word)
            if last == b"refuse":
                raise RequestError(Code.NOT_FOUND, "no such stream")
            if last != b"wait":
                self._resolve(last, answer)
            return answer

        each.each_message = True  # type: ignore[attr-defined]
        stream.streams = True  # type: ignore[attr-defined]
        methods = {
            "Echo": self.echo,
            "Inline": inline,
            "Future": future,
            "Fail": self.fail,
            "Crash": self.crash,
            "Zeros": self.zeros,
            "Wait": self.wait,
            "Each": each,
            "Stream": stream,
        }
        return {f"/test.Echo/{name}": method for name, method in methods.items()}

    def echo(self, data: bytes, call: Call) -> bytes:
        self.calls.append(call)
        return data

    def fail(self, data: bytes, call: Call) -> bytes:
        """`5 text` answers with NOT_FOUND and `text`."""
        code, _, message = data.decode().partition(" ")
        raise RequestError(Code(int(code)), message)

    def crash(self, data: bytes, call: Call) -> bytes:
        raise ValueError("a fault of ours: the client must not read this")

    def zeros(self, data: bytes, call: Call) -> bytes:
        """As many bytes as the request says."""
        return bytes(int(data))

    def wait(self, data: bytes, call: Call) -> bytes:
        """Stays until the gate of that name opens."""
        self.gate(data.decode()).pass_through()
        return data

    def _resolve(self, data: bytes, answer: Answer[bytes]) -> None:
        if data == b"fail":
            answer.set_exception(RequestError(Code.ABORTED, "the batch failed"))
        elif data == b"crash":
            answer.set_exception(ValueError("a fault of ours"))
        else:
            answer.set_result(data)


@dataclass
class Front:
    """A front that listens."""

    name: str
    port: int
    handlers: Handlers

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"
