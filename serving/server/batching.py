"""Several requests answered with one run of the model (BatchingSession of tensorflow/serving).

A thread takes everything that waits for a signature, joins it once, runs the session once and hands
out views. While it runs, the next batch collects. Requests mix only if signature, outputs, dtypes
and shapes but for the first dimension are the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from serving.server import batch_arrays
from serving.server.answers import Answer
from serving.server.batch_arrays import Array
from serving.server.batch_queue import BatchQueue, Task, Then
from serving.server.batch_threads import BatchThreads, Later, complete
from serving.server.batching_parameters import BatchingParameters
from serving.server.calls import Call, NotHere
from serving.server.loaded import Servable, run_together
from serving.server.observe import TimedModel
from serving.server.status import Code, RequestError, invalid_argument

_MAX_QUEUES = 64  # one for each set of outputs asked for; the client chooses the sets


@dataclass(frozen=True, slots=True)
class BatchRun:
    """One run, for the metrics.

    Attributes:
        task_sizes: The rows of each request.
        batch_size: The rows that were run, with padding.
        queued_s: How long each request waited.
    """

    task_sizes: list[int]
    batch_size: int
    queued_s: list[float]


class BatchedModel:
    """A model whose runs are batched. Its methods may be called from many threads at once.

    Args:
        model: The model; is closed with this one.
        parameters: How to batch.
        threads: Run the batches, of other models too.
        observe: Called after each batch, where it ran.
        on_loop: Whether batches may run on an event loop, where they are short.

    Attributes:
        signatures: Signature key to SignatureDef.
    """

    def __init__(
        self,
        model: Servable,
        parameters: BatchingParameters,
        threads: BatchThreads,
        observe: Callable[[BatchRun], None] | None = None,
        *,
        on_loop: bool = True,
    ) -> None:
        self.signatures = model.signatures
        self._model = model
        self._parameters = parameters
        self._threads = threads
        self._observe = observe
        self._on_loop = on_loop
        self._queues: dict[tuple[str, tuple[str, ...]], BatchQueue] = {}
        self._lock = threading.Lock()

    def submit(
        self,
        signature: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline_s: float | None = None,
        then: Then | None = None,
        later: Later = None,
    ) -> Answer[Any]:
        """Runs one signature in some batch.

        Args:
            signature: A key of `signatures`.
            inputs: Exactly the signature's input aliases, each with an array of as many rows.
            outputs: Output aliases of the signature, without repeats.
            deadline_s: When (`time.monotonic()`) the request need not be answered any more.
            then: Makes the future's result of the outputs, where the batch runs; None: the outputs
                themselves are the result.
            later: As `Call.later`; the batch may run there.

        Returns:
            A future. It fails with RequestError as `SavedModel.run`; DEADLINE_EXCEEDED: it waited
            too long; FAILED_PRECONDITION: an output has no row for each row of the inputs.

        Raises:
            RequestError: INVALID_ARGUMENT: the inputs cannot be in a batch. UNAVAILABLE: too many
                batches wait.
        """
        parameters = self._parameters
        variable = parameters.pad_variable_length_inputs
        size, shape = batch_arrays.rows_and_shape(inputs, variable)
        if size > parameters.max_batch_size:
            raise invalid_argument(
                f"Task size {size} is larger than maximum input batch size "
                f"{parameters.max_batch_size}"
            )
        queue = self._queues.get((signature, tuple(outputs)))
        if queue is None:
            queue, then = self._other_queue(signature, tuple(outputs), then)
        future: Answer[Any] = Answer()
        task = Task(inputs, size, future, then, deadline_s, time.monotonic())
        later = later if self._on_loop else None
        if parameters.enable_large_batch_splitting:
            self._threads.put_split(queue, shape, task, later)
        else:
            self._threads.put(queue, shape, task, later)
        return future

    def run(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str]
    ) -> dict[str, Array]:
        """Runs one signature in some batch, and waits; see `SavedModel.run` and `submit`."""
        result: dict[str, Array] = self.submit(signature, inputs, outputs).result()
        return result

    def close(self) -> None:
        """Answers what waits, then frees the model. Not to be called from a batch thread."""
        self._threads.drain(list(self._queues.values()))
        self._model.close()

    def _other_queue(
        self, signature: str, outputs: tuple[str, ...], then: Then | None
    ) -> tuple[BatchQueue, Then | None]:
        """The queue for a set of outputs not asked for before, and what to do with its results."""
        with self._lock:
            if len(self._queues) >= _MAX_QUEUES:
                outputs, then = (
                    tuple(sorted(self.signatures[signature].outputs)),
                    _only(outputs, then),
                )
            queue = self._queues.get((signature, outputs))
            if queue is None:
                queue = BatchQueue(self._parameters, partial(self._run, signature, outputs))
                self._queues[signature, outputs] = queue
        return queue, then

    def _run(self, signature: str, outputs: tuple[str, ...], tasks: list[Task]) -> None:
        started_s = time.monotonic()
        tasks = [task for task in tasks if _is_wanted(task, started_s)]
        batches = [tasks] if tasks else []
        while batches:
            tasks = batches.pop()
            sizes = [task.size for task in tasks]
            size = sum(sizes)
            batch_size = self._parameters.padded_size(size) if size else 0
            try:
                results = self._model.run(
                    signature, self._merged(tasks, batch_size - size), outputs
                )
                parts = batch_arrays.split(results, sizes, batch_size)
            except Exception as error:  # noqa: BLE001  It is the answer to somebody.
                if len(tasks) == 1:
                    tasks[0].future.set_exception(error)
                else:  # one bad request must not fail the others
                    batches += [[task] for task in reversed(tasks)]
                continue
            for task, part in zip(tasks, parts, strict=True):
                complete(task.future, task.then, part)
            if self._observe is not None:
                queued_s = [started_s - task.queued_s for task in tasks]
                self._observe(BatchRun(sizes, batch_size, queued_s))

    def _merged(self, tasks: Sequence[Task], padding: int) -> Mapping[str, Array]:
        if len(tasks) == 1 and not padding:
            return tasks[0].inputs
        variable = self._parameters.pad_variable_length_inputs
        return batch_arrays.merge([task.inputs for task in tasks], padding, variable)


def run_or_batch(
    model: Servable,
    signature: str,
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    call: Call,
    then: Callable[[dict[str, Array]], bytes],
) -> bytes | Answer[bytes]:
    """A handler's answer: at once, or a future of it where the model is batched.

    The model's lease need not outlast the call: closing a `BatchedModel` answers what waits.

    Args:
        model: Leased.
        signature: As `SavedModel.run`.
        inputs: As `SavedModel.run`.
        outputs: As `SavedModel.run`.
        call: The request's.
        then: Makes the response's bytes of the outputs.

    Raises:
        NotHere: The call is on an event loop, and the run would hold it up.
    """
    if isinstance(model, BatchedModel):
        return model.submit(
            signature, inputs, outputs, deadline_s=call.deadline_s, then=then, later=call.later
        )
    pace = model.paces.get(signature) if isinstance(model, TimedModel) else None
    started_s = time.monotonic()
    if call.later is not None and (pace is None or not pace.is_short(started_s)):
        raise NotHere
    response = then(model.run(signature, inputs, outputs))
    if pace is not None:
        ended_s = time.monotonic()
        pace.note(ended_s - started_s, ended_s, on_loop=call.later is not None)
    return response


def run_each(
    model: Servable, runs: Mapping[str, Sequence[str]], inputs: Mapping[str, Array], call: Call
) -> list[dict[str, Array]]:
    """Runs several signatures on the same inputs, together or in the batches of each; waits.

    Args:
        model: Leased.
        runs: Signature key to output aliases.
        inputs: Of each signature.
        call: The request's.
    """
    if not isinstance(model, BatchedModel):
        return run_together(model, runs, inputs)
    futures = [
        model.submit(key, inputs, outputs, deadline_s=call.deadline_s)
        for key, outputs in runs.items()
    ]
    return [future.result() for future in futures]


def _is_wanted(task: Task, now_s: float) -> bool:
    if task.future.cancelled():
        return False
    if task.deadline_s is not None and task.deadline_s <= now_s:
        task.future.set_exception(
            RequestError(
                Code.DEADLINE_EXCEEDED, "Run() timeout exceeded while waiting in batching queue"
            )
        )
        return False
    return True


def _only(outputs: tuple[str, ...], then: Then | None) -> Then:
    def chosen(results: dict[str, Array]) -> Any:
        some = {alias: results[alias] for alias in outputs}
        return some if then is None else then(some)

    return chosen
