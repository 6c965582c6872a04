"""Inverted residuals with depthwise convolutions over the pixels: few weights, few products."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.models.encoders.config import MobilenetConfig
from trainer.models.encoders.conv import conv, depthwise

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.encoders.registry import Encoding

_RELU6 = 6.0


def encode(feature: Encoding) -> tf_keras.KerasTensor:
    """Stages of inverted residuals, a 1x1 convolution, then the mean over the image:
    [N, expansion * filters * 2 ** (stages - 1)].

    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018).
    """
    import tf_keras

    sizes = feature.config.model.image.mobilenet or MobilenetConfig()
    x = conv(feature.tensor, sizes.filters, f"{feature.scope}_stem", relu=_RELU6)
    for stage, blocks in enumerate(sizes.blocks):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            name = f"{feature.scope}_stage_{stage}_block_{block}"
            x = _block(x, sizes.filters * 2**stage, sizes.expansion, stride, name)
    x = conv(x, x.shape[-1] * sizes.expansion, f"{feature.scope}_top", size=1, relu=_RELU6)
    return tf_keras.layers.GlobalAveragePooling2D(name=f"{feature.scope}_mean")(x)


def _block(
    x: tf_keras.KerasTensor, filters: int, expansion: int, stride: int, name: str
) -> tf_keras.KerasTensor:
    """Wider by a 1x1 convolution, a depthwise one, narrow again; added to what came in where the
    shapes agree."""
    import tf_keras

    y = conv(x, x.shape[-1] * expansion, f"{name}_expand", size=1, relu=_RELU6)
    y = depthwise(y, f"{name}_depthwise", stride=stride, relu=_RELU6)
    y = conv(y, filters, f"{name}_project", size=1)
    if stride > 1 or x.shape[-1] != filters:
        return y
    return tf_keras.layers.Add(name=f"{name}_add")([x, y])
