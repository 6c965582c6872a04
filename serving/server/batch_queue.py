"""The batches of one signature that wait for a thread (SharedBatchScheduler's Queue).

Nothing here locks: every method is called under the lock of the threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from serving.server.answers import Answer
from serving.server.batch_arrays import Array, Shape
from serving.server.batching_parameters import BatchingParameters
from serving.server.pace import Pace
from serving.server.status import Code, RequestError

Then: TypeAlias = Callable[[dict[str, Array]], Any]
"""Makes a future's result from a request's outputs; runs in a batch thread."""


@dataclass(slots=True, eq=False)
class Task:
    """A request, or a part of one, in a batch. Times are `time.monotonic()` seconds."""

    inputs: Mapping[str, Array]
    size: int
    future: Answer[Any]
    then: Then | None
    deadline_s: float | None
    queued_s: float


@dataclass(slots=True, eq=False)
class Batch:
    """Tasks of one shape. It is run when it is due: full, closed by the next, or old enough."""

    shape: Shape
    tasks: list[Task]
    size: int
    due_s: float


_NOW = 0.0
_SHORT_S = 0.0005  # several rows' answers take as long to write


@dataclass(slots=True, eq=False)
class BatchQueue:
    """The waiting batches of one signature and set of outputs.

    Attributes:
        parameters: How to batch.
        run: Runs a batch's tasks and completes their futures; never raises.
        waiting: Batches, oldest first.
        running: How many batches the threads have taken and not finished.
        closed: Whether it takes no more tasks.
        pace: How long its batches take.
        awaited: An event loop is to run what is due; it stands in for one of the threads.
    """

    parameters: BatchingParameters
    run: Callable[[list[Task]], None]
    waiting: list[Batch] = field(default_factory=list)
    running: int = 0
    closed: bool = False
    pace: Pace = field(default_factory=lambda: Pace(_SHORT_S))
    awaited: bool = False
    _open: dict[Shape, Batch] = field(default_factory=dict)  # those that take more tasks

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not self.waiting and not self.running

    def put(self, shape: Shape, task: Task) -> bool:
        """Adds a task to the open batch of its shape, or to a new one.

        Returns:
            Whether a thread should look: there is a batch that was not there, or is now full.

        Raises:
            RequestError: UNAVAILABLE: no more batches may wait.
        """
        largest = self.parameters.largest_batch
        batch = self._open.get(shape)
        if batch is not None and batch.size + task.size <= largest:
            batch.tasks.append(task)
            batch.size += task.size
            if batch.size < largest:
                return False
            self._close(batch)
            return True
        if self.closed:
            raise RequestError(Code.UNAVAILABLE, "The model is being unloaded")
        if len(self.waiting) >= self.parameters.max_enqueued_batches:
            raise RequestError(
                Code.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full; currently "
                f"{len(self.waiting)} batches enqueued and max_enqueued_batches is "
                f"{self.parameters.max_enqueued_batches}",
            )
        if batch is not None:
            self._close(batch)
        due_s = task.queued_s + self.parameters.batch_timeout_micros / 1e6
        batch = Batch(shape, [task], task.size, due_s)
        self.waiting.append(batch)
        self._open[shape] = batch
        if task.size >= largest:
            self._close(batch)
        return True

    def part_sizes(self, shape: Shape, size: int) -> list[int]:
        """How a request's rows are split over the open batch and new ones; one part: not at all.

        Raises:
            RequestError: UNAVAILABLE: the parts do not all fit into the queue.
        """
        largest = self.parameters.largest_batch
        batch = self._open.get(shape)
        left = largest - batch.size if batch is not None else 0
        if size <= left:
            return [size]
        capacity = (self.parameters.max_enqueued_batches - len(self.waiting)) * largest + left
        if size > capacity:
            raise RequestError(
                Code.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full; task size "
                f"is {size} but scheduling capacity is only {capacity} (num_enqueued_batches="
                f"{len(self.waiting)}, max_enqueued_batches="
                f"{self.parameters.max_enqueued_batches}, open_batch_size="
                f"{batch.size if batch is not None else 0}, max_execution_batch_size={largest})",
            )
        sizes = [left] if left else []
        whole, rest = divmod(size - left, largest)
        return sizes + [largest] * whole + ([rest] if rest else [])

    def take(self, now_s: float) -> tuple[Batch | None, float]:
        """Removes the oldest batch that is due; or None, and when the next one will be."""
        soonest = math.inf
        for index, batch in enumerate(self.waiting):
            if batch.due_s <= now_s:
                del self.waiting[index]
                self._close(batch)
                return batch, now_s
            soonest = min(soonest, batch.due_s)
        return None, soonest

    def close(self) -> None:
        """Takes no more tasks; what waits is due."""
        self.closed = True
        for batch in self.waiting:
            self._close(batch)

    def _close(self, batch: Batch) -> None:
        batch.due_s = _NOW
        if self._open.get(batch.shape) is batch:
            del self._open[batch.shape]
