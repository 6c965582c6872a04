"""How far a long node has come: reported by the trainer and the gate, listened to by who draws it.

Standard library only. Nodes run in threads of one process, so a listener belongs to the context
(`contextvars`) of the thread that set it, not to the process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

log = logging.getLogger(__name__)

_WORTH_SAYING_S = 10.0


@dataclass(frozen=True)
class Progress:
    """Where a training run stands.

    Attributes:
        step: Optimizer steps done, over all epochs.
        total_steps: Optimizer steps in all.
        loss: Mean training loss of the epoch so far.
        epoch: Epoch under way, from 1.
        val_loss: Loss on the validation split; only at the end of an epoch, None otherwise.
        epoch_end: Whether an epoch has just ended.
        seconds_left: Until the last step, at the pace so far; None where it is not known yet.
            Early stopping may end it before.
        part: Which of several trainings this is, of whose steps all together the others are:
            `member 2 of 3`; empty: it is the only one. The same of the events below.
    """

    step: int
    total_steps: int
    loss: float
    epoch: int
    val_loss: float | None = None
    epoch_end: bool = False
    seconds_left: float | None = None
    part: str = ""


@dataclass(frozen=True)
class Resumed:
    """Training goes on from a checkpoint.

    Attributes:
        step: Optimizer steps that the checkpoint has behind it.
        total_steps: Optimizer steps in all.
        epoch: Epochs that it has behind it.
    """

    step: int
    total_steps: int
    epoch: int
    part: str = ""


@dataclass(frozen=True)
class Ended:
    """Training has ended, and these are the weights that are kept.

    Attributes:
        step: Optimizer steps done; fewer than `total_steps` after early stopping.
        total_steps: Optimizer steps that were planned.
        kept_step: The step whose weights are kept: the best one with early stopping, else the last.
        loss: Mean training loss of the epoch that ended there, and
        val_loss: the loss on the validation split then; None where they are not known.
        best: Whether the weights were chosen, by `metric`, which then had
        value: this value.
    """

    step: int
    total_steps: int
    kept_step: int
    loss: float | None
    val_loss: float | None
    best: bool
    metric: str = "val_loss"
    value: float | None = None
    part: str = ""


@dataclass(frozen=True)
class Stage:
    """One of several things of equal kind is done: a candidate was made, or measured.

    Attributes:
        step: How many are done.
        total_steps: How many there are.
        what: The one that has just been done.
    """

    step: int
    total_steps: int
    what: str


Event = Progress | Resumed | Ended | Stage
Listener = Callable[[Event], None]

_listener: ContextVar[Listener | None] = ContextVar("assay_training_listener", default=None)
_part: ContextVar[tuple[int, int, str] | None] = ContextVar("assay_training_part", default=None)


@contextmanager
def listen(callback: Listener) -> Iterator[None]:
    """Calls `callback` for every report made in this context, in the trainer's own thread.

    Args:
        callback: Gets each event. It should return at once: training waits for it.
    """
    token = _listener.set(callback)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def part(number: int, of: int, what: str) -> Iterator[None]:
    """Trainings of equal length, one after the other, that are reported as one.

    Args:
        number: The one that is reported in this context, from 1.
        of: How many there are.
        what: What each of them is called.
    """
    token = _part.set((number, of, what))
    try:
        yield
    finally:
        _part.reset(token)


def _in_whole(event: Event) -> Event:
    """An event of a part as one of the whole."""
    here = _part.get()
    if here is None or isinstance(event, Stage):
        return event
    number, of, what = here
    name = f"{what} {number} of {of}"
    if isinstance(event, Ended):
        return replace(event, part=name)
    each = event.total_steps
    event = replace(event, step=(number - 1) * each + event.step, total_steps=of * each, part=name)
    if isinstance(event, Progress) and event.seconds_left is not None:
        rest = each * number - event.step
        if rest > 0:
            whole = event.seconds_left * (event.total_steps - event.step) / rest
            return replace(event, seconds_left=whole)
    return event


def describe(event: Event) -> str:
    """An event in a few words, as they stand behind a node's name."""
    if not isinstance(event, Stage) and event.part:
        return f"{event.part}: {describe(replace(event, part=''))}"
    match event:
        case Resumed():
            return (
                f"training resumed after step {event.step} of {event.total_steps} "
                f"(epoch {event.epoch})"
            )
        case Ended(best=True):
            name = "val" if event.metric == "val_loss" else event.metric
            value = event.val_loss if event.value is None else event.value
            return f"{_steps(event)}, best {name} {value:.4g} at {event.kept_step}"
        case Ended():
            return _steps(event) + (f", {_losses(event)}" if event.loss is not None else "")
        case Stage():
            return event.what
    return _losses(event) + left(event.seconds_left)


class Pace:
    """How long the rest takes, at the mean pace since the first report to this object.

    The steps before that are left out: they hold the tracing of the graph.
    """

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def seconds_left(self, step: int, total_steps: int) -> float | None:
        """Seconds until `total_steps`, or None at the first report."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, step
        since, first = self._first
        if step <= first:
            return None
        return (now - since) / (step - first) * (total_steps - step)


def left(seconds: float | None) -> str:
    """Time left in words (`, 2 min left`); empty where it is not known, or not worth a word."""
    if seconds is None or seconds < _WORTH_SAYING_S:
        return ""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f", {seconds:.0f} s left"
    if minutes < 100:
        return f", {minutes} min left"
    return f", {minutes // 60} h {minutes % 60} min left"


def _steps(event: Ended) -> str:
    if event.step < event.total_steps:
        return f"stopped at {event.step} of {event.total_steps} steps"
    return f"{event.step} steps"


def _losses(event: Progress | Ended) -> str:
    val = "" if event.val_loss is None else f", val {event.val_loss:.4g}"
    return f"loss {event.loss:.4g}{val}"


def report(event: Event) -> None:
    """Tells the listener of this context; without one, logs the ends of epochs and of training."""
    event = _in_whole(event)
    listener = _listener.get()
    if listener is not None:
        listener(event)
    elif isinstance(event, Progress) and event.epoch_end:
        val = "" if event.val_loss is None else f", val_loss {event.val_loss:.5g}"
        log.info(
            "epoch %d: step %d of %d, loss %.5g%s%s",
            event.epoch,
            event.step,
            event.total_steps,
            event.loss,
            val,
            left(event.seconds_left),
        )
    elif isinstance(event, Ended):
        log.info("%s", describe(event))
