"""Gives memory back to the system after a model was unloaded."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Collects what is in cycles (a graph is full of them), and has glibc return free pages.

    Without the second step a server that reloads models of 10 MB keeps growing: TensorFlow's freed
    buffers stay in the C heap.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
        if trim is not None:
            trim(0)
