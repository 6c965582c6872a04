"""Worker processes that take files of a pass off this one's hands.

They start in the background when a job has much to read, and this process goes on by itself until
they are ready. What fails in one of them, whatever it is, is done here: a true error is raised
where it can be told, and a worker that the system ended for its memory costs time, no more.

They end with their job, for the code and the folder of a process may change between two: in a
notebook. `assay run`, where they do not, keeps them for the nodes that follow.
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
from tfx_pipeline.runners.beam.local.sharing import Shared
from tfx_pipeline.runners.beam.local.worker import FAILED
from tfx_pipeline.worker_process import Died, WorkerProcess, cores

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from tfx_pipeline.runners.beam.local.bundles import Bundle, Part
    from tfx_pipeline.runners.beam.local.wiring import Kept

log = logging.getLogger(__name__)

# A worker imports TensorFlow and TFX for some 6 s. StatisticsGen alone reads this much (gzipped) in
# 20 s; where other jobs follow in this process, less is worth it.
PARALLEL_BYTES = 32 << 20
_PARALLEL_BYTES_OF_SEVERAL = 8 << 20
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
    """How many processes a job may use, this one included; 0: as many as make sense."""

    def __init__(self, processes: int) -> None:
        self._processes = processes

    @classmethod
    def of(cls, options: PipelineOptions) -> Helpers:
        """`--local_processes`; 0: one a core, as far as memory goes, if there is much to read."""
        from tfx_pipeline.runners.beam.local.options import LocalOptions

        return cls(options.view_as(LocalOptions).local_processes)

    def for_files(self, sizes: Sequence[int]) -> int:
        """How many workers for files of these sizes; 0 where it pays to read them here."""
        enough = PARALLEL_BYTES if _expected is None else _PARALLEL_BYTES_OF_SEVERAL
        if not self._processes and sum(sizes) < enough:
            return 0
        return max(0, min(self.most(), len(sizes) - 1))

    def most(self) -> int:
        """How many workers, however much there is to read."""
        if self._processes == 1 or _has_gpu():
            return 0
        if self._processes:
            return self._processes - 1
        return min(_room(), int(memory_free(Path("/sys/fs/cgroup")) // _WORKER_BYTES) + _alive())

    def at_first(self) -> int:
        """How many before it is known how much there is to read."""
        return min(self.most(), _room())


def _room() -> int:
    """How many workers have a core."""
    return min(cores(), _MOST) - 1


def _alive() -> int:
    """How many there are, whose memory is not free and theirs all the same."""
    return len(_team.pids) if _team is not None else 0


def _has_gpu() -> bool:
    """A worker without it would compute other last bits than this process."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


class Team:
    """Workers, each with a thread that asks it."""

    def __init__(self) -> None:
        self._members: list[_Member] = []
        self._lock = threading.Lock()

    def grow(self, count: int) -> None:
        """Starts workers until there are so many. Those that died count: what ended them would end
        others."""
        with self._lock:
            try:
                while len(self._members) < count:
                    self._members.append(_Member())
            except RuntimeError as error:  # No thread can be started.
                log.warning("no other process helps to run Beam's steps: %s", error)

    @contextmanager
    def helping(self, count: int, work: Shared[Bundle], shipment: Shipment) -> Iterator[None]:
        """While this is open, so many workers take bundles; left by an error, it ends them."""
        self.grow(count)
        with self._lock:
            members = self._members[:count]
        try:
            for member in members:
                member.help(work, shipment)
            yield
        except BaseException:
            work.stop()
            self._end([member for member in members if member.is_at(work)])
            raise
        finally:
            work.stop()

    @property
    def pids(self) -> list[int]:
        """Process ids of those that have started and not ended."""
        with self._lock:
            workers = [member.worker for member in self._members]
        return [worker.process.pid for worker in workers if worker is not None]

    def close(self) -> None:
        """Ends the workers, whatever they are doing."""
        self._end(list(self._members))

    def _end(self, ended: list[_Member]) -> None:
        with self._lock:
            self._members = [member for member in self._members if member not in ended]
        for member in ended:
            member.kill()
        for member in ended:
            member.join()


class _Member:
    """A worker process and the thread that asks it."""

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None
        self._jobs: queue.SimpleQueue[tuple[Shared[Bundle], Shipment] | None] = queue.SimpleQueue()
        self._current: Shared[Bundle] | None = None
        self._lock = threading.Lock()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="beam worker", daemon=True)
        self._thread.start()

    def help(self, work: Shared[Bundle], shipment: Shipment) -> None:
        """Has the worker take of some work, after what it was told before."""
        with self._lock:
            if not self._is_over:
                self._jobs.put((work, shipment))

    def is_at(self, work: Shared[Bundle]) -> bool:
        """Whether the worker is at some work now."""
        with self._lock:
            return self._current is work

    def kill(self) -> None:
        """Ends the process and, with it, the thread."""
        with self._lock:
            self._is_over = True
            if self.worker is not None:
                self.worker.kill()
        self._jobs.put(None)

    def join(self) -> None:
        """Waits until both have ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._lock:
                if self._is_over:
                    return
                self.worker = worker = WorkerProcess(_MODULE, _ENVIRONMENT)
            worker.answer()  # That it is ready.
            while (job := self._jobs.get()) is not None:
                work, shipment = job
                with self._lock:
                    self._current = work
                try:
                    _help(worker, work, shipment)
                finally:
                    with self._lock:
                        self._current = None
        except Died as died:
            if not self._is_over:
                why = died.why if died.by_signal else str(died)
                log.warning("a process that helps to run Beam's steps %s; going on without", why)
        except Exception as error:  # noqa: BLE001 - this process does without.
            log.warning("no other process helps to run Beam's steps: %s", error)
        finally:
            with self._lock:
                self._is_over = True
                ended, self.worker = self.worker, None
            if ended is not None:
                ended.kill()
                ended.close()


def _help(worker: WorkerProcess, work: Shared[Bundle], shipment: Shipment) -> None:
    """Has a worker do bundles, as long as there are some that it can do."""

    def suits(bundle: Bundle) -> bool:
        return bundle.part.number in shipment.able

    if not work.has_for(suits):
        return
    failed, _ = _ask(worker, None, shipment.content)
    if failed:
        log.info("worker processes cannot run this pass: %s", failed)
        shipment.able.clear()
    while (bundle := work.take_any(suits)) is not None:
        asked = (bundle.part.number, bundle.number, bundle.path, bundle.compression)
        try:
            failed, left = _ask(worker, asked)
        except BaseException:
            work.give_back(bundle)
            raise
        if failed:
            log.info("a worker could not read %s, so this process does: %s", bundle.path, failed)
            shipment.able.discard(bundle.part.number)
            work.give_back(bundle)
        else:
            work.done(bundle, left)


def _ask(worker: WorkerProcess, message: object, content: bytes = b"") -> tuple[str, bytes]:
    """A worker's answer: why it failed, or empty, and what it sends. What it logs is logged."""
    (said, text, records), left = worker.ask(message, content)
    for name, level, record in records:
        logging.getLogger(name).log(level, "%s", record)
    return (text if said == FAILED else ""), left


_lock = threading.RLock()
_expected: Helpers | None = None
_team: Team | None = None
_jobs = 0
_timer: threading.Timer | None = None


def the_team() -> Team:
    """The workers of this process."""
    global _team
    with _lock:
        if _team is None:
            _team = Team()
            atexit.register(_team.close)
        return _team


@contextmanager
def expected(helpers: Helpers | None) -> Iterator[None]:
    """While this is open, this process runs one job after the other, with the code as it is now;
    None: it does not."""
    global _expected
    with _lock:
        before, _expected = _expected, helpers
    try:
        yield
    finally:
        with _lock:
            _expected = before
        with job():
            pass


def start_ahead(data_bytes: int) -> None:
    """While one core reads data of this size (as CSV), another starts workers for the jobs that are
    expected to follow."""
    expected = _expected
    if expected is not None and data_bytes >= _AHEAD_BYTES:
        the_team().grow(expected.at_first())


@contextmanager
def job() -> Iterator[None]:
    """Around whatever may start workers: behind the last of these that is open, they end; where
    other jobs are expected, not at once."""
    global _jobs
    with _lock:
        _jobs += 1
        _set_timer(None)
    try:
        yield
    finally:
        with _lock:
            _jobs -= 1
            if not _jobs and _team is not None:
                if _expected is None:
                    _team.close()
                else:
                    _set_timer(threading.Timer(_IDLE_S, _close_if_idle))


def _close_if_idle() -> None:
    with _lock:
        if not _jobs and _team is not None:
            _team.close()


def _set_timer(timer: threading.Timer | None) -> None:
    global _timer
    if _timer is not None:
        _timer.cancel()
    _timer = timer
    if timer is not None:
        timer.daemon = True
        timer.start()
