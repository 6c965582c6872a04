"""Which integers a feature's ids are, for the transformed schema (`int_domain`).

With it, whoever reads the transform graph (a user's function that builds on ours, TFDV, TFMA) knows
how many ids there are.
"""

from __future__ import annotations

import tensorflow as tf
from tensorflow_transform import schema_inference


def ids_up_to(ids: tf.Tensor, highest: int | tf.Tensor) -> tf.Tensor:
    """States that `ids` (int64) lie in 0..highest. Eager tensors have no schema.

    `highest` may follow from an analyzer, and is then known after the analysis.
    """
    if hasattr(ids, "graph"):
        top = tf.cast(highest, tf.int64)
        schema_inference.set_tensor_schema_override(ids, tf.constant(0, tf.int64), top)
    return ids


def highest_of(looked_up: tf.Tensor) -> tf.Tensor:
    """The highest id that `tft.apply_vocabulary` stated of its result."""
    if not hasattr(looked_up, "graph"):
        return tf.reduce_max(looked_up)
    return schema_inference.get_tensor_schema_override(looked_up)[1]
