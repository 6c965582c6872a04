"""A convolution, batch normalization and ReLU: the pattern that TF-MOT folds into one kernel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tf_keras


def conv(
    x: tf_keras.KerasTensor,
    filters: int,
    name: str,
    *,
    size: int = 3,
    stride: int = 1,
    relu: float | None = None,
) -> tf_keras.KerasTensor:
    """Convolution without bias, batch normalization, and ReLU where it is asked for.

    Args:
        x: [N, height, width, channels].
        filters: Channels of the result.
        name: Of the convolution, and what its companions' names begin with.
        size: Height and width of the kernel.
        stride: 2 halves the image.
        relu: Where ReLU ends, `inf` for nowhere; None: there is none.
    """
    import tf_keras

    x = tf_keras.layers.Conv2D(
        filters,
        size,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return normalized(x, name, relu)


def depthwise(
    x: tf_keras.KerasTensor, name: str, *, stride: int = 1, relu: float | None = None
) -> tf_keras.KerasTensor:
    """As `conv`, with one 3x3 kernel a channel."""
    import tf_keras

    x = tf_keras.layers.DepthwiseConv2D(
        3,
        stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=name,
    )(x)
    return normalized(x, name, relu)


def normalized(x: tf_keras.KerasTensor, name: str, relu: float | None) -> tf_keras.KerasTensor:
    """Batch normalization over all replicas' rows, so that two replicas learn what one would; and
    ReLU."""
    import tensorflow as tf
    import tf_keras

    layers = tf_keras.layers
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    x = layers.BatchNormalization(
        momentum=0.9,  # What is served has to follow within the few steps of a first run.
        synchronized=replicas > 1,  # It costs the fused kernel.
        name=f"{name}_norm",
    )(x)
    if relu is None:
        return x
    return layers.ReLU(None if math.isinf(relu) else relu, name=f"{name}_relu")(x)
