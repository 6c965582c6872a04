"""The layers of a Transformer that Keras has not: attention in two steps, and positions.

Attention is cut in two, so that its probabilities are a tensor of the model that anybody can read
(`trainer.models.encoders.attention.attention_of`); queries, keys and values come from Dense layers,
which TF-MOT takes.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

_NOWHERE = -1e9  # Its exponential is 0 beside that of any score.


@tf_keras.saving.register_keras_serializable("assay")
class AttentionProbabilities(tf_keras.layers.Layer):
    """Which tokens a token attends to: queries and keys `[N, L, d]`, ids `[N, L]` to floats
    `[N, heads, L, L]`, of which each row sums to 1.

    Padding, id 0, gets none; where all is padding, there is none at all. Computed in float32 also
    under mixed precision.

    Args:
        heads: Equal parts that d is cut into.
    """

    def __init__(self, heads: int, **given: Any) -> None:
        super().__init__(**given)
        self.heads = heads

    def call(self, inputs: Any) -> tf.Tensor:
        query, key, ids = inputs
        scores = tf.matmul(_by_head(query, self.heads), _by_head(key, self.heads), transpose_b=True)
        size = (query.shape[-1] // self.heads) ** -0.5
        there = tf.cast(tf.not_equal(ids, 0), tf.float32)[:, tf.newaxis, tf.newaxis, :]
        scores = tf.cast(scores, tf.float32) * size + (1.0 - there) * _NOWHERE
        return tf.cast(tf.nn.softmax(scores) * there, self.compute_dtype)

    def compute_output_shape(self, shapes: Any) -> tf.TensorShape:
        rows, length = shapes[2]
        return tf.TensorShape([rows, self.heads, length, length])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads}


@tf_keras.saving.register_keras_serializable("assay")
class Attended(tf_keras.layers.Layer):
    """What the tokens read: probabilities `[N, heads, L, L]` and values `[N, L, d]` to
    `[N, L, d]`."""

    def call(self, inputs: Any) -> tf.Tensor:
        probabilities, value = inputs
        read = tf.matmul(probabilities, _by_head(value, probabilities.shape[1]))
        return tf.reshape(tf.transpose(read, [0, 2, 1, 3]), [-1, _length(value), value.shape[-1]])

    def compute_output_shape(self, shapes: Any) -> tf.TensorShape:
        return tf.TensorShape(shapes[1])


@tf_keras.saving.register_keras_serializable("assay")
class Positions(tf_keras.layers.Layer):
    """Adds to each token what its position has learned: `[N, L, d]` to the same.

    Args:
        longest: Positions there are; L is at most that.
    """

    def __init__(self, longest: int, **given: Any) -> None:
        super().__init__(**given)
        self.longest = longest

    def build(self, shape: Any) -> None:
        initializer = tf_keras.initializers.TruncatedNormal(stddev=0.02)
        self.table = self.add_weight("table", (self.longest, shape[-1]), initializer=initializer)
        super().build(shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x + tf.cast(self.table, x.dtype)[: _length(x)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "longest": self.longest}


def _by_head(x: tf.Tensor, heads: int) -> tf.Tensor:
    """`[N, L, d]` to `[N, heads, L, d / heads]`."""
    cut = tf.reshape(x, [-1, _length(x), heads, x.shape[-1] // heads])
    return tf.transpose(cut, [0, 2, 1, 3])


def _length(x: tf.Tensor) -> Any:
    """L, as a number where it is known: TFLite then computes no shapes."""
    return tf.shape(x)[1] if x.shape[1] is None else x.shape[1]
