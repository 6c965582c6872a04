"""The h2 front and bytes that nobody foresaw: it answers the others, and logs no fault."""

from __future__ import annotations

import random
import socket

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

ECHO = "/test.Echo/Echo"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def conversation(head: bytes, message: bytes) -> list[bytes]:
    frames = [
        SettingsFrame(0, {3: 100, 4: 1000}),
        WindowUpdateFrame(0, 1000),
        HeadersFrame(1, head, flags=["END_HEADERS"]),
        DataFrame(1, message, flags=["END_STREAM"]),
        PingFrame(0, b"01234567"),
        HeadersFrame(3, head[:10]),
        ContinuationFrame(3, head[10:], flags=["END_HEADERS"]),
        DataFrame(3, message[:4], pad_length=7, flags=["PADDED"]),
        DataFrame(3, message[4:], flags=["END_STREAM"]),
        RstStreamFrame(3, 8),
        SettingsFrame(0, flags=["ACK"]),
    ]
    return [frame.serialize() for frame in frames]


def spoilt(frames: list[bytes], chance: random.Random) -> bytes:
    frames = list(frames)
    for _ in range(chance.randint(0, 3)):
        place = chance.randrange(len(frames))
        what = chance.randrange(3)
        if what == 0:
            frames.insert(place, chance.choice(frames))
        elif what == 1:
            frames.pop(place)
        else:
            other = chance.randrange(len(frames))
            frames[place], frames[other] = frames[other], frames[place]
    data = bytearray(b"".join(frames))
    for _ in range(chance.randint(0, 6)):
        data[chance.randrange(len(data))] = chance.choice([0, 1, 255, chance.randrange(256)])
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    return bytes(data)


@pytest.mark.parametrize("seed", range(10))
def test_spoilt_conversations(h2_front, connect, encoded_head, framed, caplog, seed: int) -> None:
    chance = random.Random(seed)
    frames = conversation(encoded_head("/test.Echo/Inline", more="field"), framed(b"hello"))
    bystander = connect(h2_front.port)
    for _ in range(50):
        data = spoilt(frames, chance)
        with socket.create_connection(("127.0.0.1", h2_front.port), timeout=20) as client:
            client.sendall(PREFACE)
            middle = chance.randrange(len(data) + 1)
            try:
                client.sendall(data[:middle])
                client.sendall(data[middle:])
                client.shutdown(socket.SHUT_WR)
                while client.recv(1 << 16):
                    pass
            except OSError:  # it has seen enough, and closed
                pass
        assert bystander.call(ECHO, b"x").messages() == [b"x"]
    assert not caplog.records
