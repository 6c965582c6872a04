"""Worker processes that take files of a pass off this one's hands.

They start in the background when a job has much to read, and this process goes on by itself until
they are ready. What fails in one of them, whatever it is, is done here: a true error is raised
where it can be told, and a worker that the system ended for its memory costs time, no more.
"""

from __future__ import annotations

import atexit
import logging
import pickle
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.doctor.machine import memory_free
from tfx_pipeline.ingest import workers as ingest
from tfx_pipeline.runners.beam.local.sharing import Shared
from tfx_pipeline.runners.beam.local.worker import FAILED
from tfx_pipeline.worker_process import Died, WorkerProcess, cores

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from tfx_pipeline.runners.beam.local.bundles import Bundle, Part
    from tfx_pipeline.runners.beam.local.wiring import Kept

log = logging.getLogger(__name__)

# A worker imports TensorFlow and TFX for some 6 s, on a core that would idle. StatisticsGen alone
# reads this much (gzipped) in half of that, but what it starts serves Transform and Evaluator too.
PARALLEL_BYTES = 8 << 20
_AHEAD_BYTES = 24 << 20  # So much CSV makes so many shards.
_MOST = 8
# Of a worker with TFX, TensorFlow's graph and a batch: so much must be free.
_WORKER_BYTES = 1.5e9
# Nodes that follow each other share workers; while a model trains, there should be none.
_IDLE_S = 20.0
_MODULE = "tfx_pipeline.runners.beam.local.worker"
# TensorFlow takes all memory of a GPU that it sees, and the parent may need it.
_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1"}


@dataclass(frozen=True)
class Shipment:
    """The steps of a pass, as workers get them.

    Attributes:
        content: For `worker._Pass`.
        able: The numbers of the parts that are in it.
    """

    content: bytes
    able: set[int]


def shipped(parts: Sequence[Part], kept: Kept) -> Shipment:
    """Parts for other processes; none, and the log says why, if something cannot be pickled."""
    from apache_beam.internal import cloudpickle_pickler

    wanted = {side.collection for part in parts for step in part.steps for side in step.sides}
    try:
        steps = {part.number: cloudpickle_pickler.dumps(part.steps) for part in parts}
        sides = cloudpickle_pickler.dumps({each: kept[each] for each in wanted})
    except Exception as error:  # noqa: BLE001 - whatever the class of an element raises
        log.info("rows are read in one process alone: %s", error)
        return Shipment(b"", set())
    return Shipment(pickle.dumps((steps, sides)), {*steps})


class Helpers:
    """How many processes a job may use, this one included."""

    def __init__(self, processes: int) -> None:
        self._processes = processes

    @classmethod
    def of(cls, options: PipelineOptions) -> Helpers:
        """`--local_processes`; 0: one a core, as far as memory goes, if there is much to read."""
        from tfx_pipeline.runners.beam.local.options import LocalOptions

        return cls(options.view_as(LocalOptions).local_processes)

    def for_files(self, sizes: Sequence[int]) -> Team | None:
        """Workers for files of these sizes; None where it pays to read them here."""
        if not self._processes and sum(sizes) < PARALLEL_BYTES:
            return None
        count = min(self._most(), len(sizes) - 1)
        if count < 1 or _has_gpu():
            return None
        return _the_team(count)

    def start(self) -> None:
        """Has the workers import what they need before the first job."""
        count = self._most()
        if count > 0 and not _has_gpu():
            _the_team(count)

    def _most(self) -> int:
        """How many workers."""
        if self._processes:
            return self._processes - 1
        free = memory_free(Path("/sys/fs/cgroup"))
        return min(cores() - 1, _MOST - 1, int(free // _WORKER_BYTES))


def _has_gpu() -> bool:
    """A worker without it would compute other last bits than this process."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


class Team:
    """Workers, each with a thread that asks it."""

    def __init__(self) -> None:
        self._members: list[_Member] = []
        self._lock = threading.Lock()
        self._helping = 0

    def grow(self, count: int) -> None:
        """Starts workers until there are so many."""
        with self._lock:
            while len(self._members) < count:
                self._members.append(_Member())

    @contextmanager
    def helping(self, work: Shared[Bundle], shipment: Shipment) -> Iterator[None]:
        """While this is open, workers take bundles; left by an error, it ends all of them."""
        with self._lock:
            self._helping += 1
            for member in self._members:
                member.jobs.put((work, shipment))
        try:
            yield
        except BaseException:
            self.close()
            raise
        finally:
            work.stop()
            with self._lock:
                self._helping -= 1

    @property
    def pids(self) -> list[int]:
        """Process ids of those that have started and not died."""
        with self._lock:
            return [m.worker.process.pid for m in self._members if m.worker is not None]

    def close_if_idle(self) -> None:
        """Ends the workers unless somebody uses them."""
        with self._lock:
            if not self._helping:
                self._close()

    def close(self) -> None:
        """Ends the workers, whatever they are doing."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        members, self._members = self._members, []
        for member in members:
            member.close()


class _Member:
    """A worker process and the thread that asks it."""

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None
        self.jobs: queue.SimpleQueue[tuple[Shared[Bundle], Shipment] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="beam worker", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the process and, with it, the thread."""
        with self._lock:
            self._is_closed = True
            if self.worker is not None:
                self.worker.kill()
        self.jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._lock:
                if self._is_closed:
                    return
                self.worker = worker = WorkerProcess(_MODULE, _ENVIRONMENT)
            worker.answer()  # That it is ready.
            while (job := self.jobs.get()) is not None:
                _help(worker, *job)
        except Died as died:
            if not self._is_closed:
                log.warning("a process that helps to run Beam's steps %s; going on without", died)
        except OSError as error:
            log.warning("no process that helps to run Beam's steps can be started: %s", error)
        finally:
            with self._lock:
                ended, self.worker = self.worker, None
            if ended is not None:
                ended.kill()
                ended.close()


def _help(worker: WorkerProcess, work: Shared[Bundle], shipment: Shipment) -> None:
    """Has a worker do bundles, as long as there are some that it can do."""
    able = shipment.able

    def suits(bundle: Bundle) -> bool:
        return bundle.part.number in able

    if not work.has_for(suits):
        return
    (said, text), _ = worker.ask(None, shipment.content)
    if said == FAILED:
        log.info("worker processes cannot run this pass: %s", text)
        able.clear()
    while (bundle := work.take(suits)) is not None:
        try:
            asked = (bundle.part.number, bundle.number, bundle.path, bundle.compression)
            (said, text), content = worker.ask(asked)
        except BaseException:
            work.give_back(bundle)
            raise
        if said == FAILED:
            log.info("a worker process could not read %s, so this one does: %s", bundle.path, text)
            able.discard(bundle.part.number)
            work.give_back(bundle)
        else:
            work.done(bundle, content)


_lock = threading.Lock()
_expected: Helpers | None = None
_team: Team | None = None
_rest: threading.Timer | None = None


def _the_team(count: int) -> Team:
    """The workers of this process, at least so many of them."""
    global _team
    with _lock:
        _wake()
        if _team is None:
            _team = Team()
            atexit.register(_team.close)
        _team.grow(count)
        return _team


def expect(helpers: Helpers) -> None:
    """Says that this process will run jobs, not only the one that it is at."""
    global _expected
    _expected = helpers


def start_ahead(data_bytes: int) -> None:
    """While one core reads data of this size (as CSV), another starts workers for the jobs that are
    expected to follow. Where more is read, no core idles."""
    if _expected is not None and _AHEAD_BYTES <= data_bytes < ingest.PARALLEL_BYTES:
        _expected.start()


def rest() -> None:
    """After a job: ends the workers if no other follows soon."""
    global _rest
    with _lock:
        _wake()
        if _team is not None:
            _rest = threading.Timer(_IDLE_S, _team.close_if_idle)
            _rest.daemon = True
            _rest.start()


def _wake() -> None:
    global _rest
    if _rest is not None:
        _rest.cancel()
        _rest = None
