"""Encodes chunks in this process or in several, with the same result in the same order."""

from __future__ import annotations

import os
import queue
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import cast

import numpy as np

from tfx_pipeline.errors import Transient
from tfx_pipeline.ingest.encode import EncodedRows, encode_chunk
from tfx_pipeline.ingest.files import InputFile
from tfx_pipeline.ingest.readers import Chunk
from tfx_pipeline.ingest.sizes import file_size
from tfx_pipeline.ingest.source import Source
from tfx_pipeline.ingest.splits import TimeBounds
from tfx_pipeline.worker_process import Died, WorkerProcess, cores

PROCESSES_VARIABLE = "ASSAY_INGEST_PROCESSES"
# Starting a worker takes as long as encoding some 20 MB of CSV.
PARALLEL_BYTES = 48 << 20
_MOST = 8  # Reading is done by one process, which more would have to wait for.
_SHUFFLE_SEED = 0
Task = tuple[Chunk, np.ndarray]


def processes_for(files: Sequence[InputFile]) -> int:
    """How many processes encode: one a core, but one where the files are small.

    `ASSAY_INGEST_PROCESSES` overrides it.
    """
    stated = os.environ.get(PROCESSES_VARIABLE, "")
    if stated.isdecimal() and int(stated):
        return int(stated)
    # A folder of images counts as nothing: its files are read anyway.
    size = sum(file_size(file.path) for file in files if file.format != "images")
    return min(_MOST, cores()) if size >= PARALLEL_BYTES else 1


def ordered(chunks: Iterator[Chunk]) -> Iterator[Task]:
    """Each chunk with the order in which its rows are written.

    Files are often sorted (by label, by time) and a trainer's shuffle buffer is small: stock
    ExampleGen shuffles too. The seed keeps two runs alike, and starts anew with each file, whatever
    is read before it.
    """
    random = np.random.default_rng(_SHUFFLE_SEED)
    for chunk in chunks:
        if not chunk.first_row:
            random = np.random.default_rng(_SHUFFLE_SEED)
        yield chunk, random.permutation(chunk.rows.num_rows)


def encoded_chunks(
    chunks: Iterator[Chunk], source: Source, bounds: TimeBounds | None, processes: int
) -> Iterator[EncodedRows]:
    """Encodes chunks, in their order.

    Args:
        chunks: As they are read; this process reads them.
        source: How they are typed and split.
        bounds: Where a time split cuts.
        processes: How many encode. With one it is this one.

    Raises:
        Transient: A worker process died.
        DataError: From the chunks.
    """
    if processes < 2:
        for chunk, order in ordered(chunks):
            yield encode_chunk(chunk, order, source, bounds)
        return
    with Workers(processes, source, bounds) as workers:
        yield from workers.encode(ordered(chunks))


class Workers:
    """Processes that encode. Leaving the context ends them, whatever they are doing."""

    def __init__(self, count: int, source: Source, bounds: TimeBounds | None) -> None:
        self._workers: list[WorkerProcess] = []
        try:
            while len(self._workers) < count:
                self._workers.append(WorkerProcess("tfx_pipeline.ingest.worker"))
        except OSError as error:
            for worker in self._workers:
                worker.kill()
                worker.close()
            raise Transient(
                f"no process that encodes rows can be started: {error.strerror}",
                hint=f"Set {PROCESSES_VARIABLE}=1 to do without such processes.",
            ) from error
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="ingest")
        self._setting = (source, bounds)

    def __enter__(self) -> Workers:
        try:
            for worker in self._workers:
                worker.tell(self._setting)
        except BaseException as error:
            self.__exit__()
            if isinstance(error, Died):
                raise _died(error) from None
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown(cancel_futures=True)  # Whose pipes have ended now.
        for worker in self._workers:
            worker.close()

    @property
    def pids(self) -> list[int]:
        """Process ids."""
        return [worker.process.pid for worker in self._workers]

    def encode(self, tasks: Iterator[Task]) -> Iterator[EncodedRows]:
        """Encodes chunks, as many at once as there are processes, and one more waits for each.

        Raises:
            Transient: A process died.
        """
        waiting: deque[Future[EncodedRows]] = deque()
        for chunk, order in tasks:
            message = (chunk.file, chunk.first_row, order)
            waiting.append(self._threads.submit(self._ask, message, _serialized(chunk)))
            if len(waiting) >= 2 * len(self._workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _ask(self, message: object, content: memoryview) -> EncodedRows:
        worker = self._idle.get()
        try:
            answer, _ = worker.ask(message, content)
        except Died as died:
            raise _died(died) from None
        finally:
            self._idle.put(worker)  # A dead one too: who waits for it must not wait for ever.
        if isinstance(answer, Exception):
            raise answer
        return cast(EncodedRows, answer)


def _died(died: Died) -> Transient:
    hint = f"Set {PROCESSES_VARIABLE}=1 to do without such processes."
    if died.by_signal:
        hint = f"If memory ran out, set {PROCESSES_VARIABLE} to fewer processes."
    return Transient(f"a process that encodes rows {died.why}", where=died.last, hint=hint)


def _serialized(chunk: Chunk) -> memoryview:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, chunk.rows.schema) as writer:
        writer.write_batch(chunk.rows)
    return memoryview(sink.getvalue())
