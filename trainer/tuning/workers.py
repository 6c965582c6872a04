"""Who runs the trials: this process, one by one, or several processes that are started for it."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tfx_pipeline.errors import AssayError, NodeFailed, one_sentence

if TYPE_CHECKING:
    from trainer.tuning.trial import Order, Result, Setting

# Asked after each round of the trial in a slot: values so far, steps; answers as a `Judge` does.
JudgeSlot = Callable[[int, list[float], int], str]


class Workers(Protocol):
    """Runs trials in slots, one at a time in each."""

    def start(self, slot: int, order: Order) -> None:
        """Begins a trial in a free slot."""

    def next_result(self) -> tuple[int, Result]:
        """Waits until a trial has ended: its slot, and how it went.

        Raises:
            AssayError: What the next trial would meet too: the rows, the disk.
        """

    def close(self) -> None:
        """Ends the trials that still run."""


class ThisProcess:
    """Runs a trial when its result is asked for."""

    def __init__(self, setting: Setting, judge: JudgeSlot) -> None:
        from trainer.tuning.trial import read_rows

        self._setting, self._judge = setting, judge
        self._rows = read_rows(setting)
        # What is there now need not be looked at when a trial's garbage is collected.
        gc.freeze()
        self._orders: deque[tuple[int, Order]] = deque()

    def start(self, slot: int, order: Order) -> None:
        self._orders.append((slot, order))

    def next_result(self) -> tuple[int, Result]:
        from trainer.tuning.trial import run_trial

        slot, order = self._orders.popleft()
        judge = self._judge
        result = run_trial(
            self._setting, self._rows, order, lambda values, steps: judge(slot, values, steps)
        )
        return slot, result

    def close(self) -> None:
        self._orders.clear()
        gc.unfreeze()


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    busy: bool = False


class Processes:
    """A process for each slot, started with its first trial, and anew where it has died.

    They are spawned and not forked: TensorFlow's threads do not survive a fork.
    """

    def __init__(self, setting: Setting, judge: JudgeSlot, slots: int) -> None:
        self._setting, self._judge, self._slots = setting, judge, slots
        self._workers: dict[int, _Worker] = {}

    def start(self, slot: int, order: Order) -> None:
        worker = self._workers.get(slot) or self._spawn(slot)
        worker.busy = True
        with contextlib.suppress(OSError):  # It has died: `next_result` finds out.
            worker.connection.send(order)

    def next_result(self) -> tuple[int, Result]:
        while True:
            busy = {w.connection: slot for slot, w in self._workers.items() if w.busy}
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                slot = busy[connection]
                try:
                    kind, *said = connection.recv()
                    if kind == "round":
                        connection.send(self._judge(slot, *said))
                        continue
                except (EOFError, OSError):
                    return slot, self._died(slot)
                if kind == "error":
                    raise said[0]
                self._workers[slot].busy = False
                return slot, said[0]

    def close(self) -> None:
        for worker in self._workers.values():
            worker.process.kill()
            worker.process.join()
            worker.connection.close()
        self._workers.clear()

    def _spawn(self, slot: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        threads = max(1, (os.cpu_count() or 1) // self._slots)
        log_file = os.path.join(self._setting.folder, "trials", f"worker-{slot}.log")
        process = context.Process(
            target=_serve, args=(theirs, self._setting, threads, log_file), daemon=True
        )
        with _without_main():
            process.start()
        theirs.close()
        self._workers[slot] = _Worker(process, ours)
        return self._workers[slot]

    def _died(self, slot: int) -> Result:
        from trainer.tuning.trial import Result

        worker = self._workers.pop(slot)
        worker.process.join()
        worker.connection.close()
        code = worker.process.exitcode
        how = f"signal {-code} (no memory left?)" if code and code < 0 else f"exit code {code}"
        return Result("failed", reason=f"the trial's process ended with {how}")


@contextlib.contextmanager
def _without_main() -> Any:
    """Keeps a spawned process from running the main module again, which it does not need."""
    main = sys.modules["__main__"]
    kept = {name: main.__dict__.get(name) for name in ("__file__", "__spec__")}
    main.__dict__.pop("__file__", None)
    main.__dict__["__spec__"] = None
    try:
        yield
    finally:
        main.__dict__.update({name: value for name, value in kept.items() if value is not None})


def _serve(connection: Connection, setting: Setting, threads: int, log_file: str) -> None:
    """What a worker's process does: a trial for each order, until the other end is closed."""
    Path(log_file).parent.mkdir(parents=True, exist_ok=True)
    target = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(target, descriptor)
    # Several processes share a GPU only if none takes all of its memory.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    try:
        import tensorflow as tf

        from trainer import strategy
        from trainer.tuning.trial import read_rows, run_trial

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        strategy.configure_devices(setting.config.train)
        rows = read_rows(setting)
        gc.freeze()  # As in `ThisProcess`.

        def judge(values: list[float], steps: int) -> str:
            connection.send(("round", values, steps))
            answer: str = connection.recv()
            return answer

        while True:
            connection.send(("result", run_trial(setting, rows, connection.recv(), judge)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # Nobody waits for it any more.
    except AssayError as error:
        connection.send(("error", error))
    except Exception as error:
        connection.send(("error", NodeFailed(one_sentence(error), where=log_file)))
        raise
