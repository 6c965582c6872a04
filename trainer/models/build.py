"""The model of a config: a family's or the user's, checked, with its output in the label's unit."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.errors import AssayError, ConfigError
from trainer import precision
from trainer.compression import keras3
from trainer.config import ModelConfig, TrainConfig
from trainer.models.registry import FAMILIES, Activation, BuildConfig, BuildModel
from transform.config import LabelConfig
from transform.layout import FeatureSpec
from transform.user_code import call, load

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tf_keras

LABEL_UNIT_LAYER = "label_unit"


@dataclass(frozen=True)
class LabelScale:
    """What the training rows say of the label.

    Attributes:
        mean: Of a label that is a number, in its own unit.
        std: Its standard deviation.
        class_weights: Weight of a row of each class in the loss; empty: all count alike.
    """

    mean: float = 0.0
    std: float = 1.0
    class_weights: tuple[float, ...] = ()


def build(
    features: Sequence[FeatureSpec],
    model: ModelConfig,
    train: TrainConfig,
    label: LabelConfig,
    scale: LabelScale,
    folder: Path,
    rows: Mapping[str, np.ndarray] | None = None,
) -> tf_keras.Model:
    """Builds and checks the model. One that a user's builder made of Keras 3 is converted.

    Args:
        features: The transformed features.
        model: The `model` section.
        train: The `train` section.
        label: What is predicted.
        scale: The label over the training rows.
        folder: Folder that files named in `model` start from.
        rows: Real rows, transformed features by name [N, ...], that a converted model is compared
            on; None: made-up ones.

    Returns:
        A functional model; its output is float32 [N, label.outputs]. Values and quantiles are in
        the label's unit.

    Raises:
        ConfigError: The builder cannot be imported or does not return such a model, or returns
            one of Keras 3 that does not convert.
        NodeFailed: The builder raised.
    """
    config = replace(build_config(model, train, label), folder=folder, label=label)
    with _checkpointed_randomness(), precision.policy(train):
        if model.builder is None:
            built = FAMILIES[model.family](features, config)
        else:
            built = _call_builder(load(model.builder, folder), model.builder, features, config)
            if keras3.is_keras3(built):
                built = _from_keras3(built, model.builder, rows)
            check(built, model.builder, features, config)
    built = precision.answering_float32(built)
    return in_label_unit(built, scale) if label.is_value else built


def build_config(model: ModelConfig, train: TrainConfig, label: LabelConfig) -> BuildConfig:
    """The head that the label's task needs, beside the sections that size the network."""
    activation: Activation = "sigmoid"
    if label.task == "multiclass":
        activation = "softmax"
    elif label.is_value:
        activation = "linear"
    return BuildConfig(model, label.task, label.outputs, activation, train.l2, train.l1)


def in_label_unit(model: tf_keras.Model, scale: LabelScale) -> tf_keras.Model:
    """Appends the layer that turns standard deviations into the label's unit.

    It is a frozen Dense whose kernel has the deviation on its diagonal, because TF-MOT takes a
    Dense and rejects Rescaling, Lambda and arithmetic on tensors.
    """
    import tf_keras

    layer = tf_keras.layers.Dense(
        model.output_shape[-1],
        kernel_initializer=tf_keras.initializers.Identity(scale.std),
        bias_initializer=tf_keras.initializers.Constant(scale.mean),
        trainable=False,
        name=LABEL_UNIT_LAYER,
    )
    return tf_keras.Model(model.input, layer(model.output), name=model.name)


@contextmanager
def _checkpointed_randomness() -> Iterator[None]:
    """Layers made within (Dropout) keep the state of their random numbers in a variable, which a
    checkpoint saves: a resumed run then drops the units that an undisturbed one would have."""
    import tf_keras

    switch = tf_keras.backend.experimental
    if switch.is_tf_random_generator_enabled():
        yield
        return
    switch.enable_tf_random_generator()
    try:
        yield
    finally:
        switch.disable_tf_random_generator()


def _call_builder(
    builder: BuildModel, name: str, features: Sequence[FeatureSpec], config: BuildConfig
) -> object:
    try:
        inspect.signature(builder).bind(features, config)
    except TypeError as error:
        raise ConfigError(
            f"model.builder takes other arguments than (features, config): {error}",
            where=name,
            hint="Define it as `def build_model(features, config)`; features is a list of "
            "FeatureSpec, config a trainer.models.registry.BuildConfig.",
        ) from error
    return call(name, builder, features, config)


def _from_keras3(
    model: keras.Model, name: str, rows: Mapping[str, np.ndarray] | None
) -> tf_keras.Model:
    """The user's Keras 3 model in tf_keras, which the trainer and TF-MOT need."""
    try:
        return keras3.to_tf_keras(model, keras3.made_up_rows(model) if rows is None else rows)
    except AssayError as error:
        raise ConfigError(
            f"it returned a Keras 3 model that does not convert: {error.headline}",
            where=", ".join(part for part in (f"model.builder {name}", error.where) if part),
            hint=error.hint,
        ) from error


def check(model: object, name: str, features: Sequence[FeatureSpec], config: BuildConfig) -> None:
    """Checks what a user's builder returned.

    Raises:
        ConfigError: It is not a functional tf_keras model with inputs named after features, and
            one output of `config.outputs` columns with an activation that fits the task.
    """
    import tf_keras

    def refuse(headline: str, hint: str) -> ConfigError:
        return ConfigError(headline, where=f"model.builder {name}", hint=hint)

    if not isinstance(model, tf_keras.Model):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise refuse(f"it returned {kind}, not a tf_keras.Model", "Return the model, not compiled.")
    if not model.inputs or not model.built:
        raise refuse(
            "it returned a subclassed or unbuilt model, whose inputs are unknown",
            "Build it with tf_keras.Model(inputs, output), inputs made by tf_keras.Input(...).",
        )
    known = {name for spec in features for name in (spec.name, spec.weights) if name}
    unknown = [n for n in model.input_names if n not in known]
    if unknown:
        raise refuse(
            f"the model has an input {unknown[0]!r}, which is not a transformed feature",
            f"Name each input after a feature: {', '.join(sorted(known))}.",
        )
    if len(model.outputs) != 1:
        raise refuse(
            f"the model has {len(model.outputs)} outputs", "Return a model with exactly one output."
        )
    shape = tuple(model.outputs[0].shape)
    if len(shape) != 2 or shape[1] != config.outputs:
        raise refuse(
            f"the model's output has shape {shape}; a {config.task} label needs "
            f"(None, {config.outputs})",
            f"End with tf_keras.layers.Dense(config.outputs, config.activation), here "
            f"Dense({config.outputs}, {config.activation!r}).",
        )
    activation = getattr(getattr(model.layers[-1], "activation", None), "__name__", None)
    if activation == "linear" and config.activation != "linear":
        raise refuse(
            f"the model's last layer {model.layers[-1].name!r} is linear; a {config.task} label "
            f"needs probabilities",
            f"Give it activation={config.activation!r} (config.activation).",
        )
