"""Request logging by LoggingConfig: sampled requests and their responses, as PredictionLog records.

tensorflow_model_server declares this and ships no log collector (core/request_logger.cc); here it
is TFRecord files, `<filename_prefix>-...`, in any file system of this machine.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.config.logging_config_pb2 import LoggingConfig, SamplingConfig

from serving.server.record_files import RecordFiles
from serving.server.status import invalid_argument

logger = logging.getLogger("assay.serving")

_SERVICE = "/tensorflow.serving.PredictionService/"
LOGS = {  # full method name to the field of PredictionLog
    _SERVICE + "Predict": "predict_log",
    _SERVICE + "Classify": "classify_log",
    _SERVICE + "Regress": "regress_log",
    _SERVICE + "MultiInference": "multi_inference_log",
}


@dataclass(frozen=True)
class LogLimits:
    """How large files and memory may grow.

    Attributes:
        file_bytes: A file that has reached this size is followed by the next.
        file_age_s: So is one of this age.
        queue_requests: Requests that wait to be written; more are dropped.
        queue_bytes: The size of those; more are dropped.
        retry_s: After a write that failed, requests are dropped for so long.
    """

    file_bytes: int = 64 << 20
    file_age_s: float = 3600.0
    queue_requests: int = 1000
    queue_bytes: int = 64 << 20
    retry_s: float = 5.0


@dataclass(frozen=True, slots=True)
class _Entry:
    method: str
    request: bytes
    response: bytes
    time_s: float

    @property
    def size(self) -> int:
        return len(self.request) + len(self.response)


class RequestLogger:
    """Logs one model's requests. `log` may be called from any thread; it neither waits nor raises.

    A background thread writes. What it cannot write, or not fast enough, is dropped and counted.

    Args:
        config: With a `filename_prefix`, and a `sampling_rate` from 0 to 1.
        model_name: For our own log.
        saved_model_tags: For the records' metadata.
        limits: Of files and memory.
        on_drop: Is told how many requests were just dropped.

    Raises:
        RequestError: INVALID_ARGUMENT: there is no filename_prefix.
    """

    def __init__(
        self,
        config: LoggingConfig,
        model_name: str,
        *,
        saved_model_tags: Sequence[str] = (),
        limits: LogLimits | None = None,
        on_drop: Callable[[int], None] | None = None,
    ) -> None:
        prefix = config.log_collector_config.filename_prefix
        if not prefix:
            raise invalid_argument(
                f"The logging_config of model {model_name} has no filename_prefix"
            )
        self._sampling: SamplingConfig = config.sampling_config
        self._rate = config.sampling_config.sampling_rate
        self._model_name = model_name
        self._tags = list(saved_model_tags)
        self._limits = limits or LogLimits()
        self._on_drop = on_drop
        self._files = RecordFiles(prefix, self._limits.file_bytes, self._limits.file_age_s)
        self._changed = threading.Condition()
        self._waiting: deque[_Entry] = deque()
        self._waiting_bytes = 0
        self._writing = False
        self._closing = False
        self._warned: set[str] = set()
        self._lost = 0  # by writes that failed, since the last that succeeded
        self._retry_s = 0.0
        self._thread = threading.Thread(
            target=self._work, name=f"request-log-{model_name}", daemon=True
        )
        self._thread.start()

    def log(self, method: str, request: bytes, response: bytes) -> None:
        """Logs one request, or not, as the sampling rate has it.

        Args:
            method: Full method name, `/tensorflow.serving.PredictionService/Predict`.
            request: The message's bytes.
            response: The message's bytes.
        """
        if self._rate <= 0 or (self._rate < 1 and random.random() >= self._rate):
            return
        entry = _Entry(method, request, response, time.time())
        with self._changed:
            full = (
                len(self._waiting) >= self._limits.queue_requests
                or self._waiting_bytes + entry.size > self._limits.queue_bytes
            )
            closing = self._closing
            if not full and not closing:
                self._waiting.append(entry)
                self._waiting_bytes += entry.size
                self._changed.notify_all()
                return
        self._drop_for("the log is closed" if closing else "more come than can be written")

    def flush(self) -> None:
        """Waits until all that was logged so far is in the file, or dropped."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._writing)

    def close(self) -> None:
        """Writes what waits, and ends."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(
                    lambda: self._waiting or self._closing, self._files.age_left_s()
                )
                entries = list(self._waiting)
                self._waiting.clear()
                self._waiting_bytes = 0
                self._writing = True
            try:
                if entries:
                    self._write(entries)
                elif self._closing or self._files.age_left_s() == 0:
                    self._files.close()
                    if self._closing:
                        return
            except Exception:  # the thread must outlive whatever one request stumbles over
                logger.exception("requests of model %s could not be logged", self._model_name)

    def _write(self, entries: list[_Entry]) -> None:
        if time.monotonic() < self._retry_s:
            self._lose(len(entries))
            return
        records = []
        for entry in entries:
            try:
                records.append(self._record(entry))
            except DecodeError:
                self._drop_for("one is no valid message")
        try:
            self._files.write(records)
        except OSError as error:
            if not self._lost:
                logger.warning(
                    "requests of model %s are not logged, and served all the same: %s",
                    self._model_name,
                    error,
                )
            self._lose(len(records))
            self._retry_s = time.monotonic() + self._limits.retry_s
            return
        if self._lost:
            logger.warning(
                "requests of model %s are logged again; %d were not", self._model_name, self._lost
            )
            self._lost = 0

    def _record(self, entry: _Entry) -> bytes:
        log = prediction_log(entry.method, entry.request, entry.response)
        log.log_metadata.sampling_config.CopyFrom(self._sampling)
        log.log_metadata.saved_model_tags.extend(self._tags)
        log.log_metadata.timestamp_secs = int(entry.time_s)
        return bytes(log.SerializeToString())

    def _lose(self, count: int) -> None:
        self._lost += count
        if self._on_drop is not None:
            self._on_drop(count)

    def _drop_for(self, reason: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
            logger.warning("some requests of model %s are not logged: %s", self._model_name, reason)
        if self._on_drop is not None:
            self._on_drop(1)


def prediction_log(method: str, request: bytes, response: bytes) -> PredictionLog:
    """The record of one request, with the effective model_spec of its response.

    Args:
        method: Full method name, one of those that run a model.
        request: The message's bytes.
        response: The message's bytes.

    Raises:
        DecodeError: They are no such messages.
    """
    log = PredictionLog()
    body = getattr(log, LOGS[method])
    body.request.MergeFromString(request)
    body.response.MergeFromString(response)
    answered = body.response.results[0] if hasattr(body.response, "results") else body.response
    log.log_metadata.model_spec.CopyFrom(answered.model_spec)
    return log
