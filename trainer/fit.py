"""Training proper: compile, resume from the last checkpoint, fit to the last step."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tf_keras

from trainer import tensorboard
from trainer.callbacks import CutOnPlateau, KeepState, Watch
from trainer.checkpoints import Checkpoints, TrainState
from trainer.config import TrainConfig
from trainer.input import Split, all_batches, train_batches
from trainer.losses import make_loss
from trainer.models.build import LabelScale
from trainer.models.encoders.unfreeze import unfreezing
from trainer.optimizers.average import Averages, ShowAverages
from trainer.optimizers.make import make_optimizer
from trainer.progress import Ended, Resumed, report
from trainer.regularize.batches import Prepare
from trainer.regularize.mixup import is_packed, of_packed
from trainer.selection import keeps_best
from trainer.step import install
from trainer.strategy import latest_common, least_to_keep
from trainer.xla import xla_errors

if TYPE_CHECKING:
    import tensorflow as tf

    from transform.config import LabelConfig

log = logging.getLogger(__name__)

# Steps in one call of the training function. Every call costs Python about a millisecond, as much
# as a step of a small network; a progress bar wants several calls a second.
_STEPS_PER_EXECUTION = 50


def compile_model(
    model: tf_keras.Model,
    train: TrainConfig,
    label: LabelConfig,
    scale: LabelScale,
    loss: Callable[..., Any] | str | None = None,
    metrics: Sequence[tf_keras.metrics.Metric] = (),
    optimizer: tf_keras.optimizers.Optimizer | None = None,
) -> None:
    """Compiles for the label's task. The loss of a regression is in squared standard deviations
    of the label, that of quantiles in standard deviations, so that one learning rate suits labels
    of any size; so is a `loss` in its place. With an `optimizer` (of fine-tuning) the step is a
    plain one, whatever the config asks for.
    """
    is_plain = optimizer is not None
    loss = loss or make_loss(train, label, scale.class_weights)
    if train.mixup is not None and is_packed(label) and not is_plain:
        loss = of_packed(loss)
    model.compile(
        optimizer=optimizer or make_optimizer(train, model.trainable_variables),
        loss=loss,
        loss_weights=_loss_weights(label, scale),
        metrics=list(metrics),
        steps_per_execution=_steps_a_call(train),
        jit_compile=train.jit_compile and not is_plain,
    )
    # Otherwise the first step makes its variables, and is traced twice for it.
    model.optimizer.build(model.trainable_variables)


def _loss_weights(label: LabelConfig, scale: LabelScale) -> list[float] | None:
    match label.task:
        case "regression":
            return [scale.std**-2]
        case "quantile":
            return [1.0 / scale.std]
    return None


def _steps_a_call(train: TrainConfig) -> int:
    """Steps of one call of the training function; a profile wants no more than it shows."""
    return min(_STEPS_PER_EXECUTION, train.steps_per_epoch, train.profile_steps or train.steps)


def fit(
    model: tf_keras.Model,
    train: TrainConfig,
    train_split: Split,
    val_split: Split | None,
    model_run_dir: str,
    made_by: Mapping[str, Any],
    extra: Sequence[tf_keras.callbacks.Callback] = (),
    prepare: Prepare | None = None,
    last_good: str | None = None,
) -> None:
    """Trains a compiled model to `train.steps`, or from its last checkpoint on.

    Args:
        model: Compiled under the strategy it runs under; call this in that strategy's scope.
        train: The `train` section.
        train_split: Rows to learn from.
        val_split: Rows for `val_loss` and early stopping, or None.
        model_run_dir: Folder of `checkpoints/` and of TensorBoard's event files.
        made_by: What the training follows from; checkpoints of another one are discarded.
        extra: Further callbacks.
        prepare: What is done to every training batch, from `trainer.regularize.batches`.
        last_good: Folder that the last checkpoint is copied to when the loss diverges, for TFX
            removes that of a run which raised; None: `model_run_dir` with `.last_good` behind.

    Raises:
        ConfigError: Fewer rows than one batch, or one that does not divide into its parts.
        EnvironmentMismatch: XLA cannot compile the step, with `jit_compile`.
        NodeFailed: The loss became NaN or infinite, or grew beyond all bounds.
        StorageError: A checkpoint cannot be written.
        WorkerLost: Another worker of the cluster is gone.
    """
    install(model, train, train_split.layout)
    state = TrainState()
    plateau = CutOnPlateau.of(model, train, state)
    averages = Averages(model) if train.ema is not None else None
    folder = os.path.join(model_run_dir, "checkpoints")
    last_good = last_good or f"{model_run_dir.rstrip('/')}.last_good"
    keep = max(train.checkpoints_to_keep, least_to_keep())
    checkpoints = Checkpoints(folder, model, model.optimizer, state, made_by, keep)
    epoch = checkpoints.restore(latest_common(checkpoints.epochs, keep))
    if epoch:
        log.info("resumed after epoch %d from %s", epoch, folder)
        report(Resumed(_steps_after(epoch, train), train.steps, epoch))
    callbacks = [
        *extra,
        *unfreezing(model, train),
        Watch(
            train,
            lambda: not_finite(train_split),
            lambda: checkpoints.copied_to(last_good),
        ),
        *([ShowAverages(averages)] if averages else []),
        *([plateau] if plateau else []),
        KeepState(checkpoints, state, train, averages),
    ]
    callbacks += tensorboard.callbacks(model_run_dir, train)
    validation = all_batches(val_split) if val_split is not None else None
    whole_epochs, rest = divmod(train.steps, train.steps_per_epoch)
    # Keras takes one length for all epochs of a call, so a shorter last one is a call of its own.
    for last_epoch, steps in ((whole_epochs, train.steps_per_epoch), (whole_epochs + 1, rest)):
        if not steps or epoch >= last_epoch or state.stopped.numpy():
            continue
        first_step = epoch * train.steps_per_epoch
        with xla_errors(train):
            model.fit(
                train_batches(train_split, train.batch_size, train.seed, first_step, prepare),
                initial_epoch=epoch,
                epochs=last_epoch,
                steps_per_epoch=steps,
                validation_data=validation,
                callbacks=callbacks,
                verbose=0,
            )
        epoch = last_epoch
    if keeps_best(train):
        checkpoints.restore_best()
    elif averages:
        averages.keep()
    report(_ended(state, train))


def _steps_after(epochs: int, train: TrainConfig) -> int:
    return min(epochs * train.steps_per_epoch, train.steps)


def _ended(state: TrainState, train: TrainConfig) -> Ended:
    """How far training came, and the losses of the weights that are kept."""
    best = keeps_best(train)
    epoch, loss, val_loss = (
        (state.best_epoch, state.best_train_loss, state.best_val_loss)
        if best
        else (state.epoch, state.loss, state.val_loss)
    )
    return Ended(
        step=_steps_after(int(state.epoch.numpy()), train),
        total_steps=train.steps,
        kept_step=_steps_after(int(epoch.numpy()), train),
        loss=_known(loss),
        val_loss=_known(val_loss),
        best=best,
        metric=train.best_metric,
        value=_known(state.best_value) if best else None,
    )


def _known(variable: tf.Variable) -> float | None:
    value = float(variable.numpy())
    return value if math.isfinite(value) else None


def not_finite(split: Split) -> str:
    """A sentence naming the features (or label) that hold NaN or infinity, or ""."""
    if split.held is None:
        return ""
    columns = {**split.held.features, "the label": split.held.label}
    bad = {
        name: int((~np.isfinite(values)).any(axis=tuple(range(1, values.ndim))).sum())
        for name, values in columns.items()
        if values.dtype.kind == "f"
    }
    named = [f"{name} in {rows} of {split.rows} rows" for name, rows in bad.items() if rows]
    if not named:
        return ""
    return f"NaN or infinity stands in {'; '.join(named)}: mend the data or the preprocessing."
