"""Counts, times and logs what is answered."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from serving.server.answers import Answer
from serving.server.calls import Call, Handler, NotHere
from serving.server.loaded import Servable, run_together
from serving.server.metrics import Metrics
from serving.server.pace import Pace
from serving.server.status import RequestError

logger = logging.getLogger("assay.serving.requests")

_SERVICE = "/tensorflow.serving.PredictionService/"
_MAX_NAMES, _MAX_NAME_CHARACTERS = 1000, 256  # of models that nobody may have heard of
_SHORT_S = 0.00015  # what Python does for a request, one at a time, takes about as long
_COUNTED = ("Predict", "Classify", "Regress", "MultiInference")


Record: TypeAlias = Callable[[Call, str, float, BaseException | None], None]
"""Is given a call, its API (`Predict`, ...), when it began (`time.perf_counter()`), and why it
failed."""


def recorder(metrics: Metrics) -> Record:
    """What counts and logs the answer to one request."""
    counted: set[str] = set()

    def label(name: str, error: BaseException | None) -> str:
        # Clients choose the name, and what is counted under it is kept for good.
        too_much = len(counted) >= _MAX_NAMES or len(name) > _MAX_NAME_CHARACTERS
        if error is not None and too_much:
            return "(other)"
        counted.add(name)
        return name

    def record(call: Call, api: str, started: float, error: BaseException | None) -> None:
        status = "OK" if error is None else _status(error)
        latency_us = (time.perf_counter() - started) * 1e6
        name = call.model_name
        if name not in counted:
            name = label(name, error)
        metrics.request(name, status, api, call.entrypoint, latency_us)
        if logger.isEnabledFor(logging.INFO):
            asked = call.model_name[:_MAX_NAME_CHARACTERS]
            fields = {
                "request_id": call.request_id,
                "api": api,
                "entrypoint": call.entrypoint,
                "model": asked,
                "status": status,
                "latency_us": round(latency_us),
            }
            line = f"{api} {_one_line(asked)} {status}, {latency_us:.0f} µs"
            if call.request_id:
                line += f", {_one_line(call.request_id)}"
            logger.info("%s", line, extra={"fields": fields})

    return record


def observed(handlers: Mapping[str, Handler], record: Record) -> dict[str, Handler]:
    """The same handlers; what those that run a model answer is recorded."""
    return {
        method: _observed(handler, method.removeprefix(_SERVICE), record)
        if method.removeprefix(_SERVICE) in _COUNTED
        else handler
        for method, handler in handlers.items()
    }


def _observed(handler: Handler, api: str, record: Record) -> Handler:
    def answer(data: bytes, call: Call) -> bytes | Answer[bytes]:
        started = time.perf_counter()
        try:
            response = handler(data, call)
        except NotHere:
            raise
        except BaseException as error:
            record(call, api, started, error)
            raise
        if isinstance(response, Answer):
            response.add_done_callback(
                lambda future: record(
                    call,
                    api,
                    started,
                    RuntimeError("cancelled") if future.cancelled() else future.exception(),
                )
            )
        else:
            record(call, api, started, None)
        return response

    answer.inline = getattr(handler, "inline", False)  # type: ignore[attr-defined]
    return answer


def _one_line(text: str) -> str:
    """A client's text for the log, in which it must not begin a line of its own."""
    return text if text.isprintable() else ascii(text)


def _status(error: BaseException) -> str:
    return error.code.name if isinstance(error, RequestError) else "INTERNAL"


class TimedModel:
    """A loaded model whose runs are timed.

    Attributes:
        signatures: As the model's own.
        paces: Of each signature's requests, one by one; none: they may not run on an event loop.
    """

    def __init__(
        self, model: Servable, name: str, metrics: Metrics, *, on_loop: bool = False
    ) -> None:
        self.signatures = model.signatures
        self.paces = {key: Pace(_SHORT_S) for key in self.signatures if on_loop}
        self._model = model
        self._name = name
        self._metrics = metrics

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray[Any, Any]], outputs: Sequence[str]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """As the model's own."""
        started = time.perf_counter()
        found = self._model.run(signature, inputs, outputs)
        self._metrics.runtime(self._name, "Predict", (time.perf_counter() - started) * 1e6)
        return found

    def run_together(
        self, runs: Mapping[str, Sequence[str]], inputs: Mapping[str, np.ndarray[Any, Any]]
    ) -> list[dict[str, np.ndarray[Any, Any]]]:
        """As the model's own."""
        started = time.perf_counter()
        found = run_together(self._model, runs, inputs)
        self._metrics.runtime(self._name, "MultiInference", (time.perf_counter() - started) * 1e6)
        return found

    def close(self) -> None:
        """As the model's own."""
        self._model.close()
