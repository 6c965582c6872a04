"""Sequences of tokens to vectors: an average, convolutions, recurrent networks. Padding, id 0,
changes nothing in any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.models.encoders.config import TextCnnConfig
from trainer.models.encoders.recurrent import unrolled

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.encoders.registry import Encoding


def average(feature: Encoding) -> tf_keras.KerasTensor:
    """The mean of the tokens' embeddings, [N, embedding_dim]; 0 where there is no token."""
    import tf_keras

    from trainer.models.encoders.tokens import TokenMask

    layers, scope = tf_keras.layers, feature.scope
    shares = TokenMask(mean=True, name=f"{scope}_shares")(feature.tensor)
    mean = layers.Dot(axes=1, name=f"{scope}_mean")([shares, _embedding(feature)])
    return layers.Flatten(name=f"{scope}_flat")(mean)


def cnn(feature: Encoding) -> tf_keras.KerasTensor:
    """Convolutions of several widths, the largest answer of each filter: [N, widths * units].

    Kim, "Convolutional Neural Networks for Sentence Classification" (2014).
    """
    import tf_keras

    from trainer.models.encoders.tokens import TokenMask

    layers, scope, sizes = tf_keras.layers, feature.scope, feature.config.model.text
    mask = TokenMask(name=f"{scope}_mask")(feature.tensor)
    # Padding looks like what a convolution sees beyond the ends of a text, zeros, and its own
    # answers are 0 as well, which is no larger than any that ReLU gives.
    x = layers.Multiply(name=f"{scope}_tokens")([_embedding(feature), mask])
    found = []
    for width in (sizes.cnn or TextCnnConfig()).widths:
        name = f"{scope}_conv_{width}"
        y = layers.Conv1D(sizes.units, width, padding="same", activation="relu", name=name)(x)
        y = layers.Multiply(name=f"{name}_masked")([y, mask])
        found.append(layers.GlobalMaxPooling1D(name=f"{name}_max")(y))
    return layers.Concatenate(name=f"{scope}_found")(found) if len(found) > 1 else found[0]


def lstm(feature: Encoding) -> tf_keras.KerasTensor:
    """A bidirectional LSTM's last states: [N, 2 * units]."""
    import tf_keras

    return _recurrent(feature, tf_keras.layers.LSTM)


def gru(feature: Encoding) -> tf_keras.KerasTensor:
    """A bidirectional GRU's last states: [N, 2 * units]."""
    import tf_keras

    return _recurrent(feature, tf_keras.layers.GRU)


def _recurrent(feature: Encoding, cell: type[tf_keras.layers.Layer]) -> tf_keras.KerasTensor:
    import tf_keras

    # Keras hands the mask of `mask_zero` on to the recurrent layer, which skips padding.
    x = _embedding(feature, mask_zero=True)
    units = feature.config.model.text.units
    layer = cell(units, unroll=unrolled(feature))
    return tf_keras.layers.Bidirectional(layer, name=f"{feature.scope}_recurrent")(x)


def _embedding(feature: Encoding, *, mask_zero: bool = False) -> tf_keras.KerasTensor:
    import tf_keras

    return tf_keras.layers.Embedding(
        feature.spec.size,
        feature.config.model.text.embedding_dim,
        mask_zero=mask_zero,
        name=f"{feature.scope}_embedding",
    )(feature.tensor)
