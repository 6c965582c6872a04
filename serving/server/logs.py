"""The server's log on standard error: text for people, or one JSON object a line."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from types import TracebackType
from typing import Any


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (UTC, ISO 8601), `severity`, `message`, and `extra["fields"]`.

    A traceback is part of the message, so that an entry stays one line.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        entry = {
            **getattr(record, "fields", {}),
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "severity": record.levelname,
            "message": message,
        }
        return json.dumps(entry, default=str)


def log_to_stderr(*, as_json: bool, requests: bool) -> None:
    """Sends the server's log, and nobody else's, to standard error.

    Args:
        as_json: One JSON object a line.
        requests: Also a line for each request, which costs some 20 µs of each.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter() if as_json else logging.Formatter("%(asctime)s %(levelname).1s %(message)s")
    )
    logger = logging.getLogger("assay.serving")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.getLogger("assay.serving.requests").setLevel(
        logging.INFO if requests else logging.WARNING
    )


def log_all_as_json(*, requests: bool) -> None:
    """Makes every line on standard error a JSON object, whoever in this process has it to say.

    That is also the warnings of libraries, Python's own, and what nobody caught. For a process that
    does nothing else, before it imports gRPC and TensorFlow.

    Args:
        requests: As `log_to_stderr`.
    """
    log_to_stderr(as_json=True, requests=requests)
    logger = logging.getLogger("assay.serving")
    logging.getLogger().handlers[:] = logger.handlers
    logging.captureWarnings(True)
    # gRPC's core writes to standard error by itself; what matters reaches Python as an error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")

    def uncaught(kind: type[BaseException], error: Any, trace: TracebackType | None) -> None:
        logger.critical("not caught: %s", error, exc_info=(kind, error, trace))

    sys.excepthook = uncaught
    threading.excepthook = lambda args: uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def log_error_as_json(message: str, fields: dict[str, str]) -> None:
    """Writes why the server does not start."""
    log_to_stderr(as_json=True, requests=False)
    logging.getLogger("assay.serving").error("%s", message, extra={"fields": fields})
