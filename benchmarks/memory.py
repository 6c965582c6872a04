"""Memory of a process and all that it started, for the benchmarks that watch one."""

from __future__ import annotations

import psutil


def resident(pid: int) -> int:
    """Resident bytes of a process and all that it started; 0 where it has ended."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        return 0
    return total


def occupied(pid: int) -> int:
    """Bytes that a process and all that it started take from the machine: as `resident`, but a page
    that several have in common (TensorFlow's code) counts once."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        return 0
    return total
