"""Memory of a process and all that it started, for the benchmarks that watch one."""

from __future__ import annotations

from collections.abc import Callable

import psutil


def resident(pid: int) -> int:
    """Resident bytes of a process and all that it started; 0 where it has ended."""
    return _total(pid, lambda process: process.memory_info().rss)


def occupied(pid: int) -> int:
    """Bytes that a process and all that it started take from the machine: as `resident`, but a page
    that several have in common (TensorFlow's code) counts once."""
    return _total(pid, lambda process: process.memory_full_info().pss)


def _total(pid: int, of: Callable[[psutil.Process], int]) -> int:
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            try:
                total += of(process)
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        return 0
    return total
