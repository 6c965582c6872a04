"""What happens beside the steps: progress, NaN watch, early stopping, checkpoints."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import tensorflow as tf
import tf_keras

from tfx_pipeline.errors import NodeFailed
from trainer.checkpoints import Checkpoints, TrainState
from trainer.config import TrainConfig
from trainer.optimizers.average import Averages
from trainer.progress import Pace, Progress, report
from trainer.schedules import Rate
from trainer.selection import is_better, judges, keeps_best, value_of

log = logging.getLogger(__name__)

# A loss that has grown this much (in units of the first, or 1) does not come back.
_DIVERGED = 100.0


class Watch(tf_keras.callbacks.Callback):
    """Reports progress, and ends the run when the loss or a weight is no longer a number.

    The weights are looked at too, because the CPU's ReLU turns NaN into 0: a network whose first
    kernel is all NaN then answers with a constant, at a finite loss.

    Args:
        train: Steps in all and an epoch.
        explain: Called when a number is lost: what in the data explains it, or "".
        keep: Called then, if an epoch was done: puts its checkpoint where it stays, and says where.
    """

    def __init__(
        self, train: TrainConfig, explain: Callable[[], str], keep: Callable[[], str]
    ) -> None:
        super().__init__()
        self._train = train
        self._explain = explain
        self._keep = keep
        self._first_loss: float | None = None
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
        if self._first_loss is None:
            self._first_loss = loss
        if loss > _DIVERGED * max(self._first_loss, 1.0):
            raise self._lost(
                f"the training diverges: its loss grew from {self._first_loss:.4g} to {loss:.4g}",
                done,
            )
        step = self._epoch * self._train.steps_per_epoch + done
        left = self._pace.seconds_left(step, self._train.steps)
        report(Progress(step, self._train.steps, loss, self._epoch + 1, val_loss, epoch_end, left))

    def _lost(self, what: str, done: int) -> NodeFailed:
        step = self._epoch * self._train.steps_per_epoch + done
        cause = self._explain() or (
            f"Lower train.learning_rate (now {self._train.learning_rate:g}; `assay lr-range` finds "
            "one), set train.clip, or scale numeric features with very large values."
        )
        if self._epoch:
            cause += f" The checkpoint after epoch {self._epoch} is kept in {self._keep()}."
        return NodeFailed(
            f"{what} by step {step} of {self._train.steps}", where="Trainer", hint=cause
        )


class KeepState(tf_keras.callbacks.Callback):
    """Saves a checkpoint after every epoch; keeps the best weights; decides when to stop early.

    Unlike Keras's EarlyStopping its memory is part of the checkpoint, so a resumed run stops in
    the epoch in which an undisturbed run would have stopped, with the same weights.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        state: TrainState,
        train: TrainConfig,
        averages: Averages | None = None,
    ) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._state = state
        self._train = train
        self._averages = averages

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
                with self._averages.shown() if self._averages else nullcontext():
                    self._checkpoints.save_best()
            return
        state.waited_epochs.assign_add(1)
        stopping = self._train.early_stopping
        if stopping is not None:
            state.stopped.assign(int(state.waited_epochs.numpy()) >= stopping.patience_epochs)


class PlateauState(tf.Module):
    """What a plateau schedule remembers; a part of the checkpoint."""

    def __init__(self, scale: tf.Variable) -> None:
        super().__init__()
        self.scale = scale
        self.best = tf.Variable(float("inf"), dtype=tf.float64, trainable=False)
        self.waited_epochs = tf.Variable(0, dtype=tf.int64, trainable=False)


class CutOnPlateau(tf_keras.callbacks.Callback):
    """Cuts the learning rate when the validation loss (without validation rows: the training loss)
    has not gone down for `patience_epochs`."""

    def __init__(self, train: TrainConfig, state: PlateauState) -> None:
        super().__init__()
        self._schedule = train.schedule
        self._state = state

    @classmethod
    def of(
        cls, model: tf_keras.Model, train: TrainConfig, state: TrainState
    ) -> CutOnPlateau | None:
        """The callback of a model compiled with `schedule: plateau`, its memory a part of `state`;
        None for other schedules."""
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        rate = getattr(optimizer, "_learning_rate", None)
        if not isinstance(rate, Rate) or rate.scale is None:
            return None
        state.plateau = PlateauState(rate.scale)
        return cls(train, state.plateau)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        loss = float(logs.get("val_loss", logs["loss"]))
        state, schedule = self._state, self._schedule
        if loss < float(state.best.numpy()) - (schedule.min_delta or 0.0):
            state.best.assign(loss)
            state.waited_epochs.assign(0)
            return
        state.waited_epochs.assign_add(1)
        if int(state.waited_epochs.numpy()) < (schedule.patience_epochs or 3):
            return
        state.waited_epochs.assign(0)
        cut = float(state.scale.numpy()) * (schedule.factor or 0.1)
        state.scale.assign(max(cut, schedule.end or 0.0))
        log.info("no better for a while: the learning rate is cut to %g of its peak", cut)
