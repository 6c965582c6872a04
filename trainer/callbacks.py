"""What happens beside the steps: progress, NaN watch, early stopping, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras

from tfx_pipeline.errors import NodeFailed
from trainer.checkpoints import Checkpoints, TrainState
from trainer.config import TrainConfig
from trainer.progress import Pace, Progress, report
from trainer.selection import is_better, judges, keeps_best, value_of


class Watch(tf_keras.callbacks.Callback):
    """Reports progress, and ends the run when the loss or a weight is no longer a number.

    The weights are looked at too, because the CPU's ReLU turns NaN into 0: a network whose first
    kernel is all NaN then answers with a constant, at a finite loss.

    Args:
        train: Steps in all and an epoch.
        explain: Called when a number is lost: what in the data explains it, or "".
    """

    def __init__(self, train: TrainConfig, explain: Callable[[], str]) -> None:
        super().__init__()
        self._train = train
        self._explain = explain
        self._epoch = 0
        self._pace = Pace()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._report(batch + 1, float((logs or {})["loss"]))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        per_epoch = self._train.steps_per_epoch
        done = min(self._train.steps - epoch * per_epoch, per_epoch)
        for weight in self.model.trainable_variables:
            if not tf.reduce_all(tf.math.is_finite(weight)):
                raise self._lost(f"weights of {weight.name} became NaN or infinite", done)
        self._report(done, float(logs["loss"]), logs.get("val_loss"), epoch_end=True)

    def _report(
        self, done: int, loss: float, val_loss: float | None = None, *, epoch_end: bool = False
    ) -> None:
        if not math.isfinite(loss):
            raise self._lost(f"the training loss became {loss}", done)
        step = self._epoch * self._train.steps_per_epoch + done
        left = self._pace.seconds_left(step, self._train.steps)
        report(Progress(step, self._train.steps, loss, self._epoch + 1, val_loss, epoch_end, left))

    def _lost(self, what: str, done: int) -> NodeFailed:
        step = self._epoch * self._train.steps_per_epoch + done
        cause = self._explain() or (
            f"Lower train.learning_rate (now {self._train.learning_rate:g}), or scale numeric "
            "features with very large values."
        )
        return NodeFailed(
            f"{what} by step {step} of {self._train.steps}", where="Trainer", hint=cause
        )


class KeepState(tf_keras.callbacks.Callback):
    """Saves a checkpoint after every epoch; keeps the best weights; decides when to stop early.

    Unlike Keras's EarlyStopping its memory is part of the checkpoint, so a resumed run stops in
    the epoch in which an undisturbed run would have stopped, with the same weights.
    """

    def __init__(self, checkpoints: Checkpoints, state: TrainState, train: TrainConfig) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._state = state
        self._train = train

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        state = self._state
        state.epoch.assign(epoch + 1)
        state.loss.assign(float(logs["loss"]))
        state.val_loss.assign(float(logs.get("val_loss", math.nan)))
        if judges(self._train):
            self._judge(value_of(self._train, logs))
        self._checkpoints.save()
        self.model.stop_training = bool(state.stopped.numpy())

    def _judge(self, value: float) -> None:
        state = self._state
        if not math.isfinite(value):
            what = self._train.best_metric.replace("val_", "validation ")
            raise NodeFailed(
                f"the {what} became {value} in epoch {int(state.epoch.numpy())}",
                where="Trainer",
                hint="Look for NaN or infinity in the rows of the validation split.",
            )
        if is_better(self._train, value, float(state.best_value.numpy())):
            state.best_value.assign(value)
            state.best_val_loss.assign(state.val_loss)
            state.best_epoch.assign(state.epoch)
            state.best_train_loss.assign(state.loss)
            state.waited_epochs.assign(0)
            if keeps_best(self._train):
                self._checkpoints.save_best()
            return
        state.waited_epochs.assign_add(1)
        stopping = self._train.early_stopping
        if stopping is not None:
            state.stopped.assign(int(state.waited_epochs.numpy()) >= stopping.patience_epochs)
