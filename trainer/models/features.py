"""A family's inputs: every feature as a Keras input, and as the vector its encoder makes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.models.encoders.registry import Encoding, encode
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.registry import BuildConfig


@dataclass(frozen=True)
class Encoded:
    """What a family's network stands on.

    Attributes:
        inputs: The model's inputs by name.
        vectors: Float32 [N, n] of each feature, by the feature's name, in the features' order.
    """

    inputs: dict[str, tf_keras.KerasTensor]
    vectors: dict[str, tf_keras.KerasTensor]


def encoded(features: Sequence[FeatureSpec], config: BuildConfig) -> Encoded:
    """Makes an input for every feature (two for a bag) and encodes it."""
    scopes = scope_names([spec.name for spec in features])
    inputs: dict[str, tf_keras.KerasTensor] = {}
    vectors: dict[str, tf_keras.KerasTensor] = {}
    for spec in features:
        made = inputs_of(spec)
        inputs |= made
        weights = made[spec.weights] if spec.weights else None
        one = Encoding(spec, scopes[spec.name], made[spec.name], weights, config)
        vectors[spec.name] = encode(one)
    return Encoded(inputs, vectors)


def inputs_of(spec: FeatureSpec) -> dict[str, tf_keras.KerasTensor]:
    """The inputs of one feature, by name."""
    import tf_keras

    inputs = {spec.name: tf_keras.Input(shape=spec.shape, dtype=spec.dtype, name=spec.name)}
    if spec.weights is not None:
        inputs[spec.weights] = tf_keras.Input(shape=spec.shape, name=spec.weights)
    return inputs


def scope_names(names: Sequence[str]) -> dict[str, str]:
    """For each name one that TensorFlow takes for a scope, unlike all others.

    A layer's name becomes a scope, and a column may be called `Größe (cm)`.
    """
    scopes: dict[str, str] = {}
    for name in names:
        scope = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        if not scope[:1].isalnum():
            scope = f"x{scope}"
        while scope in scopes.values():
            scope = f"{scope}_"
        scopes[name] = scope
    return scopes
