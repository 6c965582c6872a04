"""What a model takes: bytes on disk, bytes that the server reads, and its resident memory."""

from __future__ import annotations

import zlib
from pathlib import Path

import psutil

from trainer.compression.candidate import CORE_FILE

CORE = Path(CORE_FILE)
CORE_DESCRIPTION = Path("assets.extra/assay_core.json")

_CHUNK = 2**20
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to ask for gzip's header and trailer
_LEVEL = 6  # gzip's own default


def disk_bytes(folder: Path) -> int:
    """The size of all files of a folder."""
    return sum(file.stat().st_size for file in _files(folder))


def gzip_bytes(folder: Path) -> int:
    """The size of all files of a folder, each gzipped: what a network or an archive holds."""
    return sum(_gzipped(file) for file in _files(folder))


def has_core(folder: Path) -> bool:
    """Whether our server runs a TFLite core of this SavedModel."""
    return (folder / CORE).is_file() and (folder / CORE_DESCRIPTION).is_file()


def served_bytes(folder: Path, *, runs_core: bool) -> int:
    """What a server reads of it to compute: the core, else the variables."""
    if runs_core:
        return (folder / CORE).stat().st_size
    return disk_bytes(folder / "variables")


def resident_bytes(pid: int) -> int:
    """Resident memory of a process.

    A model's share is what it grows by from before its load to after a first request. The server
    has by then loaded and asked another model, so that what TensorFlow allocates once is not laid
    at this one's door, and has unloaded none, whose memory this one would be given.
    """
    return int(psutil.Process(pid).memory_info().rss)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _gzipped(file: Path) -> int:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    size = 0
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            size += len(packer.compress(chunk))
    return size + len(packer.flush())
