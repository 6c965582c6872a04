"""The layers that families share: joined features, dense stacks, normalization, the head."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.registry import BuildConfig

HEAD = "head"


def joined(vectors: Iterable[tf_keras.KerasTensor], name: str = "features") -> tf_keras.KerasTensor:
    """All vectors as one, [N, sum of widths]."""
    import tf_keras

    parts = list(vectors)
    return tf_keras.layers.Concatenate(name=name)(parts) if len(parts) > 1 else parts[0]


def added(terms: Iterable[tf_keras.KerasTensor], name: str) -> tf_keras.KerasTensor:
    """The sum of tensors of one shape."""
    import tf_keras

    parts = list(terms)
    return tf_keras.layers.Add(name=name)(parts) if len(parts) > 1 else parts[0]


def dense_stack(x: tf_keras.KerasTensor, config: BuildConfig) -> tf_keras.KerasTensor:
    """`model.hidden_units` dense layers, each with normalization, activation and dropout."""
    for index, units in enumerate(config.model.hidden_units):
        x = hidden(x, units, config, str(index))
    return x


def hidden(
    x: tf_keras.KerasTensor, units: int, config: BuildConfig, suffix: str
) -> tf_keras.KerasTensor:
    """One hidden layer, [N, units]: dense, normalization, activation, dropout.

    Without normalization the activation is the Dense layer's own, which TF-MOT and TFLite take as
    one op.
    """
    normalization = config.model.normalization
    if normalization in ("auto", "none"):
        x = dense(x, units, config, f"hidden_{suffix}", config.model.activation)
    else:
        x = dense(x, units, config, f"hidden_{suffix}")
        x = normalized(x, normalization, f"norm_{suffix}")
        x = activated(x, config, f"activation_{suffix}")
    return dropped(x, config, f"dropout_{suffix}")


def dense(
    x: tf_keras.KerasTensor,
    units: int,
    config: BuildConfig,
    name: str,
    activation: str | None = None,
    **more: Any,
) -> tf_keras.KerasTensor:
    """A Dense layer with the config's L2 penalty."""
    import tf_keras

    return tf_keras.layers.Dense(
        units, activation, kernel_regularizer=l2(config), name=name, **more
    )(x)


def normalized(x: tf_keras.KerasTensor, how: str, name: str) -> tf_keras.KerasTensor:
    """Batch normalization, over the rows of all replicas, or layer normalization."""
    import tf_keras

    if how == "batch":
        return tf_keras.layers.BatchNormalization(synchronized=True, name=name)(x)
    return tf_keras.layers.LayerNormalization(epsilon=1e-5, name=name)(x)


def activated(x: tf_keras.KerasTensor, config: BuildConfig, name: str) -> tf_keras.KerasTensor:
    """`model.activation` as a layer of its own."""
    import tf_keras

    return tf_keras.layers.Activation(config.model.activation, name=name)(x)


def dropped(x: tf_keras.KerasTensor, config: BuildConfig, name: str) -> tf_keras.KerasTensor:
    """`model.dropout`, if any."""
    import tf_keras

    rate = config.model.dropout
    return tf_keras.layers.Dropout(rate, name=name)(x) if rate else x


def head(
    x: tf_keras.KerasTensor, config: BuildConfig, kernel_initializer: str = "glorot_uniform"
) -> tf_keras.KerasTensor:
    """The output that the label's task needs, [N, config.outputs].

    Every family ends in it: calibration is folded into its kernel and bias.
    """
    return dense(
        x, config.outputs, config, HEAD, config.activation, kernel_initializer=kernel_initializer
    )


def l2(config: BuildConfig) -> tf_keras.regularizers.Regularizer | None:
    """The penalty of a dense kernel: L2, L1 or both."""
    import tf_keras

    if config.l1:
        return tf_keras.regularizers.L1L2(config.l1, config.l2)
    return tf_keras.regularizers.L2(config.l2) if config.l2 else None
