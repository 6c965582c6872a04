"""Numbers, ids and bags of tokens to vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.encoders.registry import Encoding

ONE_HOT_MAX_IDS = 8  # Up to here a one-hot row is no longer than the embedding would need to be.


def embedding_dim(ids: int, longest: int) -> int:
    """Length of the embedding of `ids` values: 1.6 * ids ** 0.56 (fastai's rule), at most
    `longest`."""
    return min(longest, max(2, round(1.6 * ids**0.56)))


def dense(feature: Encoding) -> tf_keras.KerasTensor:
    """Floats as they are, flattened: [N, size]."""
    import tf_keras

    if len(feature.spec.shape) == 1:
        return feature.tensor
    return tf_keras.layers.Reshape((feature.spec.size,))(feature.tensor)


def bag(feature: Encoding) -> tf_keras.KerasTensor:
    """The sum of the tokens' embeddings, weighted; padding has weight 0: [N, dim]."""
    import tf_keras

    dim = embedding_dim(feature.spec.size, feature.config.model.embedding_max_dim)
    rows = tf_keras.layers.Embedding(feature.spec.size, dim, name=f"{feature.scope}_embedding")
    total = tf_keras.layers.Dot(axes=1, name=f"{feature.scope}_sum")
    return total([feature.weights, rows(feature.tensor)])


def ids(feature: Encoding) -> tf_keras.KerasTensor:
    """An embedding of each id; of few ids, one-hot rows: [N, n]."""
    import tf_keras

    layers, size = tf_keras.layers, feature.spec.size
    if size <= ONE_HOT_MAX_IDS:
        # A frozen identity table is a one-hot row by one gather, without the range checks and the
        # cast of CategoryEncoding.
        table = layers.Embedding(
            size,
            size,
            embeddings_initializer="identity",
            trainable=False,
            name=f"{feature.scope}_one_hot",
        )
    else:
        dim = embedding_dim(size, feature.config.model.embedding_max_dim)
        table = layers.Embedding(size, dim, name=f"{feature.scope}_embedding")
    return layers.Flatten(name=f"{feature.scope}_flat")(table(feature.tensor))
