"""Requests in a file: 4 bytes of length, big endian, and the bytes, again and again."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path


def read_payloads(path: Path) -> list[bytes]:
    data, found = path.read_bytes(), []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def write_payloads(path: Path, payloads: Sequence[bytes]) -> None:
    path.write_bytes(b"".join(struct.pack(">I", len(p)) + p for p in payloads))
