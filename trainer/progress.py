"""How far a training run has come: reported by the trainer, listened to by whoever draws it.

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


Listener = Callable[[Progress], None]

_listener: ContextVar[Listener | None] = ContextVar("assay_training_listener", default=None)


@contextmanager
def listen(callback: Listener) -> Iterator[None]:
    """Calls `callback` for every report made in this context, in the trainer's own thread.

    Args:
        callback: Gets each `Progress`. It should return at once: training waits for it.
    """
    token = _listener.set(callback)
    try:
        yield
    finally:
        _listener.reset(token)


def report(progress: Progress) -> None:
    """Tells the listener of this context; without one, logs a line at the end of each epoch."""
    listener = _listener.get()
    if listener is not None:
        listener(progress)
    elif progress.epoch_end:
        val = "" if progress.val_loss is None else f", val_loss {progress.val_loss:.5g}"
        log.info(
            "epoch %d: step %d of %d, loss %.5g%s",
            progress.epoch,
            progress.step,
            progress.total_steps,
            progress.loss,
            val,
        )
