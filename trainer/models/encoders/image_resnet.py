"""A small residual network over the pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trainer.models.encoders.config import ResnetConfig
from trainer.models.encoders.conv import conv

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.encoders.registry import Encoding


def encode(feature: Encoding) -> tf_keras.KerasTensor:
    """Stages of basic blocks, then the mean over the image: [N, filters * 2 ** (stages - 1)].

    He et al., "Deep Residual Learning for Image Recognition" (2016), with the stem of its networks
    for small images: one 3x3 convolution.
    """
    import tf_keras

    sizes = feature.config.model.image.resnet or ResnetConfig()
    x = conv(feature.tensor, sizes.filters, f"{feature.scope}_stem", relu=math.inf)
    for stage, blocks in enumerate(sizes.blocks):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            name = f"{feature.scope}_stage_{stage}_block_{block}"
            x = _block(x, sizes.filters * 2**stage, stride, name)
    return tf_keras.layers.GlobalAveragePooling2D(name=f"{feature.scope}_mean")(x)


def _block(x: tf_keras.KerasTensor, filters: int, stride: int, name: str) -> tf_keras.KerasTensor:
    """Two convolutions, added to what came in (by a 1x1 convolution where the shape changes)."""
    import tf_keras

    y = conv(x, filters, f"{name}_first", stride=stride, relu=math.inf)
    y = conv(y, filters, f"{name}_second")
    if stride > 1 or x.shape[-1] != filters:
        x = conv(x, filters, f"{name}_shortcut", size=1, stride=stride)
    total = tf_keras.layers.Add(name=f"{name}_add")([x, y])
    return tf_keras.layers.ReLU(name=f"{name}_relu")(total)
