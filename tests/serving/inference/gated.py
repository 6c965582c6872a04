"""A batched model whose runs wait for the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from serving.server.answers import Answer
from serving.server.batch_threads import BatchThreads
from serving.server.batching import BatchedModel, BatchRun
from serving.server.batching_parameters import BatchingParameters
from serving.server.saved_model import SavedModel
from serving.server.status import Code, RequestError

FOREVER_MICROS = 10**12
WAIT_S = 30.0


class Gated:
    """A model whose runs wait for a gate, so that a test decides what is in the queue by then.

    Attributes:
        gate: Runs go on while it is set.
        entered: Counts the runs that have begun.
        sizes: The rows of every run.
    """

    def __init__(self, model: SavedModel) -> None:
        self.signatures = model.signatures
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.sizes: list[int] = []
        self.closed = False
        self._model = model

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        self.sizes.append(len(next(iter(inputs.values()))))
        self.entered.release()
        assert self.gate.wait(WAIT_S)
        return self._model.run(signature, inputs, outputs)

    def close(self) -> None:
        self.closed = True


@contextmanager
def batched(
    model: Any,
    *,
    held: bool = True,
    observe: Callable[[BatchRun], None] | None = None,
    **parameters: Any,
) -> Iterator[tuple[BatchedModel, Gated]]:
    """A batched model; if it is held, its one thread is busy with a request of one row."""
    parameters.setdefault("num_batch_threads", 1)
    values = BatchingParameters(**parameters)
    threads, gated = BatchThreads(values), Gated(model)
    wrapped = BatchedModel(gated, values, threads, observe)
    try:
        if held:
            wrapped.submit("double", {"x": np.zeros((1, 7), np.float32)}, ["y"])
            assert gated.entered.acquire(timeout=WAIT_S)
            gated.sizes.clear()
        else:
            gated.gate.set()
        yield wrapped, gated
    finally:
        gated.gate.set()
        wrapped.close()
        threads.close()


def double(model: BatchedModel, *rows: float, **options: Any) -> Answer[Any]:
    return model.submit("double", {"x": np.array(rows, np.float32)}, ["y"], **options)


def failure(future: Answer[Any]) -> tuple[Code, str]:
    error = future.exception(WAIT_S)
    assert isinstance(error, RequestError)
    return error.code, error.message
