"""How large data are as CSV, by which it is decided where, and by how many processes, they are
worked on."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

# How many bytes of CSV a byte of a file stands for, roughly: 300,000 taxi rows were 5.5 (gzip), 8.7
# (bzip2), 5.5 (zstd), 13.9 (Parquet, of values that repeat) and 3.3 times (Feather) as large.
_AS_CSV = {
    ".gz": 5,
    ".bz2": 8,
    ".zst": 5,
    **dict.fromkeys((".parquet", ".pq"), 8),
    **dict.fromkeys((".arrow", ".arrows", ".feather", ".ipc"), 3),
}


def file_size(path: Path) -> int:
    """Bytes of a file as CSV; 0 where it cannot be looked at, which its reader will tell."""
    try:
        return path.stat().st_size * _AS_CSV.get(path.suffix.lower(), 1)
    except OSError:
        return 0


def data_size(path: Path) -> int:
    """Bytes, as CSV, of a file, of every file in a folder, or of the files that a pattern names."""
    if path.is_dir():
        return _total(path.rglob("*"))
    if path.is_file():
        return file_size(path)
    return _total(map(Path, glob.glob(str(path), recursive=True)))


def _total(files: Iterable[Path]) -> int:
    return sum(file_size(file) for file in files if file.is_file())
