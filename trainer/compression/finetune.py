"""Fine-tuning of a candidate: a few steps on the parent's training rows, with a seed of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tf_keras

from tfx_pipeline.errors import NodeFailed
from trainer.compression.context import Context
from trainer.compression.kernels import without_autograph
from trainer.fit import compile_model, not_finite
from trainer.input import train_batches
from trainer.step import trace_once


def clone(model: tf_keras.Model, context: Context) -> tf_keras.Model:
    """A model of the same layers with weights of its own, made in the strategy's scope.

    TF-MOT's wrappers take over the layers that they wrap: without a clone, compressing a model
    would change it.

    Raises:
        NodeFailed: It is a Keras 3 model, or no functional one.
    """
    if not isinstance(model, tf_keras.Model):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise NodeFailed(
            f"the model is a {kind}; TF-MOT compresses tf_keras models only",
            hint="Convert a Keras 3 model with trainer.compression.keras3, or build it with "
            "`import tf_keras`.",
        )
    if not model.inputs:
        raise NodeFailed(
            f"the model {model.name!r} is subclassed or not built: its layers are unknown",
            hint="Build it with tf_keras.Model(inputs, output), of tf_keras.Input(...) on.",
        )
    with context.strategy.scope():
        copy = tf_keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
    return copy


def finetune(
    model: tf_keras.Model,
    context: Context,
    *,
    steps: int,
    learning_rate: float,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
    loss: Callable[..., Any] | str | None = None,
) -> None:
    """Compiles and trains a model in place, on `context.train_split`.

    Every step takes `train.batch_size` rows, no fewer: under MirroredStrategy a last batch that
    does not fill all replicas would pull the weights.

    Args:
        model: Made in `context.strategy`'s scope.
        context: Rows, label, strategy, and the seed of dropout and of the order of the rows.
        steps: Optimizer steps; 0 leaves the model as it is, and not compiled.
        learning_rate: Adam's.
        callbacks: Of Keras. The whole training is one epoch, and a batch to them is up to 50 steps.
        loss: In place of the loss of the label's task.

    Raises:
        ConfigError: Fewer rows than one batch.
        NodeFailed: The loss or a weight became NaN or infinite.
    """
    if not steps:
        return
    train = context.train.model_copy(
        update={"steps": steps, "steps_per_epoch": steps, "learning_rate": learning_rate}
    )
    if train.calibrate != "none":
        # Only the plain loss keeps the probabilities true that calibration made so.
        train = train.model_copy(
            update={"loss": "auto", "class_weights": None, "label_smoothing": 0.0}
        )
    tf_keras.utils.set_random_seed(context.seed)
    with context.strategy.scope():
        compile_model(
            model,
            train,
            context.transform.label,
            context.scale,
            loss=loss,
            optimizer=tf_keras.optimizers.Adam(learning_rate),
        )
        model.train_step = without_autograph(model, model.train_step)
        trace_once(model)
        batches = train_batches(context.train_split, train.batch_size, context.seed, 0)
        history = model.fit(batches, steps_per_epoch=steps, callbacks=list(callbacks), verbose=0)
    _check_finite(model, float(history.history["loss"][-1]), context, learning_rate)


def _check_finite(
    model: tf_keras.Model, loss: float, context: Context, learning_rate: float
) -> None:
    """Weights are looked at too: the CPU's ReLU turns NaN into 0, and the loss stays finite."""
    if not math.isfinite(loss):
        what = f"the loss became {loss}"
    else:
        weights = zip(model.weights, model.get_weights(), strict=True)
        lost = [variable.name for variable, value in weights if not np.isfinite(value).all()]
        if not lost:
            return
        what = f"weights of {lost[0]} became NaN or infinite"
    raise NodeFailed(
        f"{what} in fine-tuning",
        where=f"model {model.name}",
        hint=not_finite(context.train_split)
        or f"Lower the candidate's learning_rate (now {learning_rate:g}).",
    )
