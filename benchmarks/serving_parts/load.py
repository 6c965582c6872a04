"""A load generator lean enough to leave the machine to the server: gRPC calls as bytes on sockets.

A real gRPC client takes 100 to 300 µs of CPU for each call, more than the servers measured here, so
that with two cores it would measure itself. This one prepares every frame beforehand, writes one
call with one system call, and looks in the answer only for the stream's end and its `grpc-status`.
It speaks what the servers may ask for: flow control, SETTINGS, PING and GOAWAY. Runs on Linux.

    python benchmarks/serving_parts/load.py --port=8500 --method=/a.B/C --payloads=FILE --seconds=5

prints its figures as JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import select
import socket
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hpack
import numpy as np
from payloads import read_payloads

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK = 0x1, 0x1
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW = 1, 2, 4
_LARGEST_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65535
_MOST_STREAMS = 64  # under way on one connection; more calls wait for one to end
_PATIENCE_S = 5.0  # after the end, for what has not been answered


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """An HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class Connection:
    """One HTTP/2 connection that calls one method, with several calls at once if need be."""

    def __init__(self, port: int, method: str, payloads: Sequence[bytes]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # With no dynamic table on the way back, equal trailers are equal bytes.
        settings = struct.pack(
            ">HIHIHI",
            *(_HEADER_TABLE_SIZE, 0),
            *(_ENABLE_PUSH, 0),
            *(_INITIAL_WINDOW, _LARGEST_WINDOW),
        )
        grow = struct.pack(">I", _LARGEST_WINDOW - _DEFAULT_WINDOW)
        self.socket.sendall(
            _PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, grow)
        )
        self.calls: dict[int, float] = {}
        self.waiting: deque[float] = deque()
        encoder = hpack.Encoder()
        head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", f"127.0.0.1:{port}"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "grpc-serving-load/1"),
            ("grpc-accept-encoding", "identity, deflate, gzip"),
            ("grpc-timeout", "10S"),
        ]
        # As every client does, the first call tells the server the headers, all others refer to it.
        self._first: bytes | None = encoder.encode(head)
        again = encoder.encode(head)
        self._head = struct.pack(">I", len(again))[1:] + bytes((HEADERS, 0x4))
        self._block = again
        self._messages = []
        for payload in payloads:
            message = b"\0" + struct.pack(">I", len(payload)) + payload
            start = struct.pack(">I", len(message))[1:] + bytes((DATA, _END_STREAM))
            self._messages.append((start, message))
        self._stream = 1
        self._window = _DEFAULT_WINDOW
        self._received = b""

    def call(self, number: int, since: float) -> bool:
        """Sends a call, unless the server's flow control or too many calls forbid it.

        Args:
            number: Of the payload; they are sent in turn.
            since: When the call was due.
        """
        start, message = self._messages[number % len(self._messages)]
        if len(message) > self._window or len(self.calls) >= _MOST_STREAMS:
            return False
        stream = self._stream.to_bytes(4, "big")
        head, block = self._head, self._block
        if self._first is not None:
            head, block = (
                struct.pack(">I", len(self._first))[1:] + bytes((HEADERS, 0x4)),
                self._first,
            )
            self._first = None
        self.calls[self._stream] = since
        self._stream += 2
        self._window -= len(message)
        self.socket.sendall(b"".join((head, stream, block, start, stream, message)))
        return True

    def receive(self) -> Iterator[tuple[float, bytes]]:
        """Reads what has come: for each call that ended, when it was due and its last headers.

        Raises:
            ConnectionError: The server closed the connection.
        """
        data = self.socket.recv(262144)
        if not data:
            raise ConnectionError("the server closed the connection")
        if self._received:
            data = self._received + data
        at, end = 0, len(data)
        while at + 9 <= end:
            size = int.from_bytes(data[at : at + 3], "big")
            body, after = at + 9, at + 9 + size
            if after > end:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == HEADERS:
                if flags & _END_STREAM:
                    stream = int.from_bytes(data[at + 5 : body], "big")
                    yield self.calls.pop(stream), data[body:after]
            elif kind != DATA:
                yield from self._control(kind, flags, data[at + 5 : body], data[body:after])
            at = after
        self._received = data[at:]

    def _control(
        self, kind: int, flags: int, stream: bytes, payload: bytes
    ) -> Iterator[tuple[float, bytes]]:
        number = int.from_bytes(stream, "big")
        if kind == WINDOW_UPDATE and number == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind in (SETTINGS, PING) and not flags & _ACK:
            self.socket.sendall(frame(kind, _ACK, 0, payload if kind == PING else b""))
        elif kind == RST_STREAM and number in self.calls:
            yield self.calls.pop(number), b""
        elif kind == GOAWAY:
            raise ConnectionError("the server sent GOAWAY")


@dataclass
class Load:
    """What was measured: of each call that ended well, when it was due and how long it took."""

    codes: Counter[str] = field(default_factory=Counter)
    due: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    elapsed_s: float = 0.0


class Generator:
    """Connections and the calls made over them."""

    def __init__(self, port: int, method: str, payloads: Sequence[bytes], number: int) -> None:
        self._connections = [Connection(port, method, payloads) for _ in range(number)]
        self._poll = select.epoll()
        self._by_file = {c.socket.fileno(): c for c in self._connections}
        for file in self._by_file:
            self._poll.register(file, select.EPOLLIN)
        self._numbers = itertools.count()
        self._names: dict[bytes, str] = {}

    def run(self, seconds: float, rate: float | None) -> Load:
        """Calls for a while.

        Args:
            seconds: How long.
            rate: None: each connection sends its next call when the last one was answered. Or
                calls a second, due at random times (Poisson) whatever the server does; a call's
                latency counts from when it was due, wherever it waited.
        """
        load = Load()
        started = time.monotonic()
        end = started + seconds
        gaps = random.Random(1)
        due = started + gaps.expovariate(rate) if rate else float("inf")
        turn = itertools.cycle(self._connections)
        if not rate:
            for connection in self._connections:
                self._send(connection, time.monotonic())
        while True:
            now = time.monotonic()
            while rate and due <= now and due < end:
                self._send(next(turn), due)
                due += gaps.expovariate(rate)
                now = time.monotonic()
            if now >= end and not any(c.calls or c.waiting for c in self._connections):
                break
            if now >= end + _PATIENCE_S:
                unanswered = sum(len(c.calls) + len(c.waiting) for c in self._connections)
                load.codes["UNANSWERED"] += unanswered
                break
            # epoll's own timeout is in whole milliseconds; select's on the epoll is not.
            wait_s = min(due, end) - now if now < end else end + _PATIENCE_S - now
            if not select.select([self._poll], [], [], max(0.0, wait_s))[0]:
                continue
            for file, _ in self._poll.poll(0):
                connection = self._by_file[file]
                for since, trailers in connection.receive():
                    at = time.monotonic()
                    code = self._names.get(trailers) or self._name(trailers)
                    load.codes[code] += 1
                    if code == "OK":
                        load.due.append(since)
                        load.latencies_s.append(at - since)
                    if not rate and at < end:
                        self._send(connection, at)
                while connection.waiting and connection.call(
                    next(self._numbers), connection.waiting[0]
                ):
                    connection.waiting.popleft()
        load.elapsed_s = min(time.monotonic(), end) - started
        return load

    def close(self) -> None:
        for connection in self._connections:
            connection.socket.close()
        self._poll.close()

    def _send(self, connection: Connection, due: float) -> None:
        if connection.waiting or not connection.call(next(self._numbers), due):
            connection.waiting.append(due)

    def _name(self, trailers: bytes) -> str:
        """`OK`, or the gRPC status's number as the server sent it."""
        fields = dict(hpack.Decoder().decode(trailers)) if trailers else {}
        status = fields.get("grpc-status", "reset")
        name = "OK" if status == "0" else f"{status} {fields.get('grpc-message', '')}".strip()
        self._names[trailers] = name
        return name


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, in user and in system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100  # clock ticks: 100 a second on every Linux


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--method", required=True, help="/package.Service/Method")
    parser.add_argument("--payloads", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds before, not counted")
    parser.add_argument("--rate", type=float, help="calls a second, open loop")
    parser.add_argument("--pid", type=int, help="the server's, for its CPU time meanwhile")
    parser.add_argument("--samples", type=Path, help="write due times and latencies here (.npy)")
    arguments = parser.parse_args()

    payloads = read_payloads(arguments.payloads)
    generator = Generator(arguments.port, arguments.method, payloads, arguments.connections)
    generator.run(arguments.warm_up, arguments.rate)
    before = cpu_seconds(arguments.pid) if arguments.pid else 0.0
    own = time.process_time()
    load = generator.run(arguments.seconds, arguments.rate)
    own = time.process_time() - own
    server = cpu_seconds(arguments.pid) - before if arguments.pid else None
    latencies = np.asarray(load.latencies_s) * 1000
    if arguments.samples:
        epoch = time.time() - time.monotonic()
        np.save(arguments.samples, np.stack([np.asarray(load.due) + epoch, latencies]))
    calls = sum(load.codes.values())
    figures = {
        "calls": calls,
        "per_second": load.codes["OK"] / load.elapsed_s,
        "p50_ms": float(np.percentile(latencies, 50)) if len(latencies) else None,
        "p99_ms": float(np.percentile(latencies, 99)) if len(latencies) else None,
        "failed": {code: count for code, count in load.codes.items() if code != "OK"},
        "generator_cpu": own / load.elapsed_s,
        "server_cpu": None if server is None else server / load.elapsed_s,
        "server_us_a_call": None if server is None else server / max(1, calls) * 1e6,
    }
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main()
