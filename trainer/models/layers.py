"""The layers that families share: joined features, a stack of dense layers, the head."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.registry import BuildConfig


def joined(vectors: Iterable[tf_keras.KerasTensor]) -> tf_keras.KerasTensor:
    """All vectors as one, [N, sum of widths]."""
    import tf_keras

    parts = list(vectors)
    return tf_keras.layers.Concatenate(name="features")(parts) if len(parts) > 1 else parts[0]


def dense_stack(x: tf_keras.KerasTensor, config: BuildConfig) -> tf_keras.KerasTensor:
    """`model.hidden_units` dense layers with ReLU, and dropout behind each."""
    import tf_keras

    layers = tf_keras.layers
    for index, units in enumerate(config.model.hidden_units):
        x = layers.Dense(units, "relu", kernel_regularizer=_l2(config), name=f"hidden_{index}")(x)
        if config.model.dropout:
            x = layers.Dropout(config.model.dropout, name=f"dropout_{index}")(x)
    return x


def head(x: tf_keras.KerasTensor, config: BuildConfig) -> tf_keras.KerasTensor:
    """The output that the label's task needs, [N, config.outputs]."""
    import tf_keras

    return tf_keras.layers.Dense(
        config.outputs, config.activation, kernel_regularizer=_l2(config), name="head"
    )(x)


def _l2(config: BuildConfig) -> tf_keras.regularizers.Regularizer | None:
    import tf_keras

    return tf_keras.regularizers.L2(config.l2) if config.l2 else None
