"""Counts, times and logs what handlers answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from serving.server.calls import Call, Handler
from serving.server.loaded import Servable
from serving.server.metrics import Metrics
from serving.server.status import RequestError

logger = logging.getLogger("assay.serving.requests")

_SERVICE = "/tensorflow.serving.PredictionService/"
_COUNTED = ("Predict", "Classify", "Regress", "MultiInference")


def observed(handlers: Mapping[str, Handler], metrics: Metrics) -> dict[str, Handler]:
    """The same handlers; those that run a model also count and time what they answer."""
    return {
        method: _observed(handler, method.removeprefix(_SERVICE), metrics)
        if method.removeprefix(_SERVICE) in _COUNTED
        else handler
        for method, handler in handlers.items()
    }


def _observed(handler: Handler, api: str, metrics: Metrics) -> Handler:
    def ended(call: Call, started: float, error: BaseException | None) -> None:
        status = "OK" if error is None else _status(error)
        latency_us = (time.perf_counter() - started) * 1e6
        metrics.request(call.model_name, status, api, call.entrypoint, latency_us)
        if logger.isEnabledFor(logging.INFO):
            fields = {
                "request_id": call.request_id,
                "api": api,
                "entrypoint": call.entrypoint,
                "model": call.model_name,
                "status": status,
                "latency_us": round(latency_us),
            }
            logger.info("%s %s %s", api, call.model_name, status, extra={"fields": fields})

    def answer(data: bytes, call: Call) -> bytes | Future[bytes]:
        started = time.perf_counter()
        try:
            response = handler(data, call)
        except BaseException as error:
            ended(call, started, error)
            raise
        if isinstance(response, Future):
            response.add_done_callback(
                lambda future: ended(
                    call,
                    started,
                    RuntimeError("cancelled") if future.cancelled() else future.exception(),
                )
            )
        else:
            ended(call, started, None)
        return response

    answer.inline = getattr(handler, "inline", False)  # type: ignore[attr-defined]
    return answer


def _status(error: BaseException) -> str:
    return error.code.name if isinstance(error, RequestError) else "INTERNAL"


class TimedModel:
    """A loaded model whose runs are timed."""

    def __init__(self, model: Servable, name: str, metrics: Metrics) -> None:
        self.signatures = model.signatures
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

    def close(self) -> None:
        """As the model's own."""
        self._model.close()
