"""The threads that run batches, and the order in which they take them (SharedBatchScheduler)."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from serving.server import batch_arrays
from serving.server.answers import Answer
from serving.server.batch_arrays import Array, Shape
from serving.server.batch_queue import BatchQueue, Task, Then
from serving.server.batching_parameters import BatchingParameters

logger = logging.getLogger("assay.serving")

Later: TypeAlias = Callable[[Callable[[], None]], None] | None
"""`Call.later`."""


class BatchThreads:
    """`num_batch_threads` threads, which run the batches of all models in turn.

    In the place of an idle one, the event loop that a request came over runs the batch, where such
    batches are short: no change of threads, and what else the loop has to read is in the batch.

    Args:
        parameters: Only the threads' number and name are used.

    Attributes:
        name: The threads' name, for metrics.
    """

    def __init__(self, parameters: BatchingParameters) -> None:
        self.name = parameters.thread_pool_name
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._finished = threading.Condition(self._lock)
        self._pending: deque[BatchQueue] = deque()  # those with a batch
        self._idle = 0
        self._draining = 0
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{self.name}_{number}")
            for number in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def put(self, queue: BatchQueue, shape: Shape, task: Task, later: Later = None) -> None:
        """Adds a task to a queue, whole. Raises as `BatchQueue.put`."""
        with self._lock:
            if queue.put(shape, task):
                self._look_at(queue, later)

    def put_split(self, queue: BatchQueue, shape: Shape, task: Task, later: Later = None) -> None:
        """Adds a task to a queue, in parts where it does not fit into the open batch.

        Raises as `BatchQueue.part_sizes`.
        """
        with self._lock:
            sizes = queue.part_sizes(shape, task.size)
            for part in [task] if len(sizes) < 2 else _parts(task, sizes):
                if queue.put(shape, part):
                    self._look_at(queue, later)

    def drain(self, queues: Sequence[BatchQueue]) -> None:
        """Closes queues, and waits until all that was in them has been answered."""
        with self._lock:
            self._draining += 1
            for queue in queues:
                queue.close()
            self._wake.notify_all()
            self._finished.wait_for(lambda: all(queue.idle for queue in queues))
            self._draining -= 1

    def close(self) -> None:
        """Ends the threads when what is due has been answered. To be called after every model's."""
        with self._lock:
            self._stopping = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _look_at(self, queue: BatchQueue, later: Later) -> None:
        if queue not in self._pending:
            self._pending.append(queue)
        if queue.awaited or self._idle < 1:
            return
        if later is not None and queue.pace.is_short(time.monotonic()):
            self._idle -= 1
            queue.awaited = True
            later(partial(self._run_due, queue))
        else:
            self._wake.notify()

    def _run_due(self, queue: BatchQueue) -> None:
        """Runs what is due, on the event loop."""
        try:
            while True:
                with self._lock:
                    batch, _ = queue.take(time.monotonic())
                    if batch is None:
                        return
                    queue.running += 1
                self._run(queue, batch.tasks, on_loop=True)
        finally:
            with self._lock:
                queue.awaited = False
                self._idle += 1
                if not queue.waiting and queue in self._pending:
                    self._pending.remove(queue)
                if self._pending:
                    self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._lock:
                taken = self._take()
            if taken is None:
                return
            self._run(*taken)
            del taken  # or it keeps an unloaded model until the next batch

    def _run(self, queue: BatchQueue, tasks: list[Task], *, on_loop: bool = False) -> None:
        started_s = time.monotonic()
        try:
            queue.run(tasks)
        except Exception:  # the thread must outlive whatever one batch stumbles over
            logger.exception("a batch failed for a reason that is the server's")
        ended_s = time.monotonic()
        with self._lock:
            queue.pace.note(ended_s - started_s, ended_s, on_loop=on_loop)
            queue.running -= 1
            if self._draining:
                self._finished.notify_all()

    def _take(self) -> tuple[BatchQueue, list[Task]] | None:
        """Waits for the next batch; None: the threads are to end."""
        while True:
            now_s = time.monotonic()
            taken, soonest_s = self._next_due(now_s)
            if taken is not None or self._stopping:
                return taken
            self._idle += 1
            self._wake.wait(None if soonest_s == math.inf else soonest_s - now_s)
            self._idle -= 1

    def _next_due(self, now_s: float) -> tuple[tuple[BatchQueue, list[Task]] | None, float]:
        """The next queue's batch, if one is due, and its queue; or None, and when one will be."""
        soonest_s = math.inf
        for _ in range(len(self._pending)):
            queue = self._pending[0]
            self._pending.rotate(-1)
            batch, due_s = queue.take(now_s)
            if batch is not None:
                queue.running += 1
                if not queue.waiting:
                    self._pending.pop()
                if self._pending and self._idle > 0:
                    self._wake.notify()  # of what is not due yet, another keeps the time
                return (queue, batch.tasks), now_s
            soonest_s = min(soonest_s, due_s)
        return None, soonest_s


def complete(future: Answer[Any], then: Then | None, outputs: dict[str, Array]) -> None:
    """Ends a request's future with its outputs, or with what `then` makes of them."""
    try:
        result = outputs if then is None else then(outputs)
    except Exception as error:  # noqa: BLE001  It is the answer to somebody.
        future.set_exception(error)
    else:
        future.set_result(result)


def _parts(task: Task, sizes: Sequence[int]) -> list[Task]:
    """A task in parts of so many rows; its future is completed with the last of theirs."""
    parts, start = [], 0
    for size in sizes:
        inputs = {alias: array[start : start + size] for alias, array in task.inputs.items()}
        parts.append(Task(inputs, size, Answer(), None, task.deadline_s, task.queued_s))
        start += size
    left = [len(parts)]
    lock = threading.Lock()

    def finish(_: Answer[Any]) -> None:
        with lock:
            left[0] -= 1
            if left[0]:
                return
        error = next((e for part in parts if (e := part.future.exception()) is not None), None)
        if error is not None:
            task.future.set_exception(error)
        else:
            outputs = batch_arrays.join([part.future.result() for part in parts])
            complete(task.future, task.then, outputs)

    for part in parts:
        part.future.add_done_callback(finish)
    return parts
