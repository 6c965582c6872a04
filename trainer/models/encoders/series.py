"""Windows of measurements to vectors: dilated convolutions, or a recurrent network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.models.encoders.config import SeriesCnnConfig
from trainer.models.encoders.recurrent import unrolled

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.encoders.registry import Encoding


def cnn(feature: Encoding) -> tf_keras.KerasTensor:
    """Convolutions that look twice as far each, then the mean and the largest of every filter over
    the steps: [N, 2 * units].

    Bai et al., "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for
    Sequence Modeling" (2018), has the dilation.
    """
    import tf_keras

    layers, scope, sizes = tf_keras.layers, feature.scope, feature.config.model.series
    shape = sizes.cnn or SeriesCnnConfig()
    x = feature.tensor
    for index in range(shape.layers):
        x = layers.Conv1D(
            sizes.units,
            shape.width,
            padding="same",
            dilation_rate=2**index,
            activation="relu",
            name=f"{scope}_conv_{index}",
        )(x)
    means = layers.GlobalAveragePooling1D(name=f"{scope}_means")(x)
    largest = layers.GlobalMaxPooling1D(name=f"{scope}_largest")(x)
    return layers.Concatenate(name=f"{scope}_found")([means, largest])


def gru(feature: Encoding) -> tf_keras.KerasTensor:
    """A GRU's state after the last step: [N, units]."""
    import tf_keras

    layer = tf_keras.layers.GRU(
        feature.config.model.series.units,
        unroll=unrolled(feature),
        name=f"{feature.scope}_recurrent",
    )
    return layer(feature.tensor)
