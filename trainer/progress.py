"""How far a long node has come: reported by the trainer and the gate, listened to by who draws it.

Standard library only. Nodes run in threads of one process, so a listener belongs to the context
(`contextvars`) of the thread that set it, not to the process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

log = logging.getLogger(__name__)


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
    """

    step: int
    total_steps: int
    loss: float
    epoch: int
    val_loss: float | None = None
    epoch_end: bool = False


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


@dataclass(frozen=True)
class Ended:
    """Training has ended, and these are the weights that are kept.

    Attributes:
        step: Optimizer steps done; fewer than `total_steps` after early stopping.
        total_steps: Optimizer steps that were planned.
        kept_step: The step whose weights are kept: the best one with early stopping, else the last.
        loss: Mean training loss of the epoch that ended there, and
        val_loss: the loss on the validation split then; None where they are not known.
        best: Whether the weights were chosen by `val_loss`.
    """

    step: int
    total_steps: int
    kept_step: int
    loss: float | None
    val_loss: float | None
    best: bool


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


def describe(event: Event) -> str:
    """An event in a few words, as they stand behind a node's name."""
    match event:
        case Resumed():
            return (
                f"training resumed after step {event.step} of {event.total_steps} "
                f"(epoch {event.epoch})"
            )
        case Ended(best=True):
            return f"{_steps(event)}, best val {event.val_loss:.4g} at {event.kept_step}"
        case Ended():
            return _steps(event) + (f", {_losses(event)}" if event.loss is not None else "")
        case Stage():
            return event.what
    return _losses(event)


def _steps(event: Ended) -> str:
    if event.step < event.total_steps:
        return f"stopped at {event.step} of {event.total_steps} steps"
    return f"{event.step} steps"


def _losses(event: Progress | Ended) -> str:
    val = "" if event.val_loss is None else f", val {event.val_loss:.4g}"
    return f"loss {event.loss:.4g}{val}"


def report(event: Event) -> None:
    """Tells the listener of this context; without one, logs the ends of epochs and of training."""
    listener = _listener.get()
    if listener is not None:
        listener(event)
    elif isinstance(event, Progress) and event.epoch_end:
        val = "" if event.val_loss is None else f", val_loss {event.val_loss:.5g}"
        log.info(
            "epoch %d: step %d of %d, loss %.5g%s",
            event.epoch,
            event.step,
            event.total_steps,
            event.loss,
            val,
        )
    elif isinstance(event, Ended):
        log.info("%s", describe(event))
