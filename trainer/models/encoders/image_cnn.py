"""A small convolutional network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.encoders.registry import Encoding


def encode(feature: Encoding) -> tf_keras.KerasTensor:
    """Convolutions that halve the image until its short side is about 4 pixels, then flatten."""
    import tf_keras

    layers, scope = tf_keras.layers, feature.scope
    short = min(size or 1 for size in feature.spec.shape[:2])
    halvings = max(1, min(4, int(math.log2(max(2, short / 4)))))
    x = feature.tensor
    for index in range(halvings):
        x = layers.Conv2D(
            16 * 2**index, 3, padding="same", activation="relu", name=f"{scope}_conv_{index}"
        )(x)
        x = layers.MaxPooling2D(name=f"{scope}_pool_{index}")(x)
    return layers.Flatten(name=f"{scope}_flat")(x)
