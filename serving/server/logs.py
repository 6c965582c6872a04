"""The server's log on standard error: text for people, or one JSON object a line."""

from __future__ import annotations

import json
import logging
import time


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
