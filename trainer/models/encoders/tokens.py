"""Which tokens of a sequence are there: a layer that keeps padding out of sums and maxima."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras


@tf_keras.saving.register_keras_serializable("assay")
class TokenMask(tf_keras.layers.Layer):
    """Marks the tokens of a sequence: ids int64 `[N, L]` to floats `[N, L, 1]`.

    Args:
        mean: False: 1 for a token, 0 for padding. True: each token has an equal share of 1, so
            that a sum of embeddings weighted with it is their mean; a row of padding alone has 0.
    """

    def __init__(self, mean: bool = False, **given: Any) -> None:
        super().__init__(**given)
        self.mean = mean

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        mask = tf.cast(tf.not_equal(ids, 0), self.compute_dtype)[..., tf.newaxis]
        if not self.mean:
            return mask
        return mask / tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1)

    def compute_output_shape(self, shape: Any) -> tf.TensorShape:
        return tf.TensorShape(shape).concatenate(1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean}
