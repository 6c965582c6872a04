"""A calm terminal: while a run lasts, everything that dependencies print goes to the run's log.

TensorFlow, Beam and MLMD write to the file descriptors from C++, past Python's `sys.stderr`; so
the descriptors themselves are pointed at the log, and what we have to say goes to a copy of the
terminal made before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from tfx_pipeline.errors import storage_errors
from tfx_pipeline.terminal import Terminal

_FORMAT = "%(asctime)s %(levelname).1s %(threadName)s %(name)s: %(message)s"


@contextlib.contextmanager
def calm_terminal(log_file: Path) -> Iterator[Console]:
    """Sends standard output and error to `log_file`; yields a console on the real terminal.

    Raises:
        StorageError: The log cannot be written.
    """
    with storage_errors(str(log_file)):
        log_file.parent.mkdir(parents=True, exist_ok=True)
        log = open(log_file, "a", buffering=1, encoding="utf-8", errors="replace")  # noqa: SIM115
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    terminal = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8", errors="replace")
    streams = sys.stdout, sys.stderr
    try:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = log
        with _logging_to(log_file):
            yield Terminal(file=terminal, highlight=False)
    finally:
        sys.stdout, sys.stderr = streams
        log.flush()
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in saved:
            os.close(descriptor)
        with contextlib.suppress(BrokenPipeError):
            terminal.close()
        log.close()


@contextlib.contextmanager
def _logging_to(log_file: Path) -> Iterator[None]:
    """Points the root logger, absl's included, at the log and captures warnings."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    handler = logging.FileHandler(log_file, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            yield
    finally:
        logging.captureWarnings(False)
        root.handlers, root.level = handlers, level
        handler.close()
