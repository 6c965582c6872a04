"""Keeps what TFLite's C++ prints on standard output and error from the terminal; it is logged."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

log = logging.getLogger(__name__)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within, what is written to file descriptors 1 and 2 goes to the log, at level DEBUG.

    The converter and the interpreter write there from C++, past Python's `sys.stderr` and past
    logging. The descriptors are the whole process's: meanwhile other threads are unheard, too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as printed:
        try:
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Of `tf.lite.Interpreter`, within calibration.
                yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, copy in enumerate(saved, start=1):
                os.dup2(copy, descriptor)
                os.close(copy)
            printed.seek(0)
            for line in printed.read().decode(errors="replace").splitlines():
                log.debug("%s", line)
