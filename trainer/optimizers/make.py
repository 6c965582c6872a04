"""The optimizer of a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tf_keras

from trainer.optimizers.average import Averaging
from trainer.optimizers.config import TAKES, ClipConfig, OptimizerConfig
from trainer.optimizers.lamb import Lamb
from trainer.schedules import Rate

if TYPE_CHECKING:
    import tensorflow as tf

    from trainer.config import TrainConfig

_of = tf_keras.optimizers
_CLASSES: dict[str, tuple[type, dict[str, Any]]] = {
    "sgd": (_of.SGD, {}),
    "nesterov": (_of.SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (_of.Adam, {}),
    "adamw": (_of.AdamW, {}),
    # The rate is train.learning_rate, not the paper's own schedule.
    "adafactor": (_of.Adafactor, {"relative_step": False}),
    "lion": (_of.Lion, {}),
    "adagrad": (_of.Adagrad, {}),
    "rmsprop": (_of.RMSprop, {"ema_overwrite_frequency": None}),
    "ftrl": (_of.Ftrl, {}),
    "lamb": (Lamb, {}),
}
_KERAS_NAMES = {
    "initial_accumulator": "initial_accumulator_value",
    "l1": "l1_regularization_strength",
    "l2": "l2_regularization_strength",
}


def make_optimizer(
    train: TrainConfig, variables: Sequence[tf.Variable]
) -> tf_keras.optimizers.Optimizer:
    """The optimizer that the `train` section describes, built for these variables.

    Call it in the strategy's scope. With `mixed_float16` it scales the loss.

    Args:
        train: The `train` section.
        variables: The model's trainable ones.
    """
    kind, arguments = _CLASSES[train.optimizer.name]
    arguments = arguments | _given(train.optimizer) | _clip(train.clip)
    if train.ema is not None:
        arguments |= {"use_ema": True, "ema_momentum": train.ema}
    if train.clip is not None or train.ema is not None:
        kind = type(kind.__name__, (Averaging, kind), {})
    optimizer = kind(learning_rate(train), **arguments)
    if train.optimizer.decay and not train.optimizer.decay_all:
        excluded = [variable for variable in variables if not is_decayed(variable)]
        optimizer.exclude_from_weight_decay(var_list=excluded)
    if train.precision == "mixed_float16":
        optimizer = tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
    # Otherwise the first step makes its variables, and is traced twice for it.
    optimizer.build(variables)
    return optimizer


def learning_rate(train: TrainConfig) -> float | Rate:
    """A number where it never changes, else a schedule."""
    if train.schedule.name == "constant" and not train.schedule.warmup_steps:
        return train.learning_rate
    return Rate.of(train)


def is_decayed(variable: tf.Variable) -> bool:
    """Whether weight decay pulls it: kernels and embeddings, not biases or normalization."""
    name = variable.name.rpartition("/")[2].partition(":")[0]
    return len(variable.shape) > 1 and not name.startswith(("bias", "gamma", "beta"))


def _given(config: OptimizerConfig) -> dict[str, Any]:
    """The arguments that the config gives, by Keras's names."""
    given = {_KERAS_NAMES.get(name, name): getattr(config, name) for name in TAKES[config.name]}
    given = {name: value for name, value in given.items() if value is not None}
    decay = "decay" if config.name == "lamb" else "weight_decay"
    return given | {decay: config.decay} if config.decay or config.name == "lamb" else given


def _clip(config: ClipConfig | None) -> dict[str, float]:
    if config is None:
        return {}
    bounds = {
        "clipvalue": config.value,
        "clipnorm": config.norm,
        "global_clipnorm": config.global_norm,
    }
    return {name: bound for name, bound in bounds.items() if bound is not None}
