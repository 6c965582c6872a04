"""Random changes of tabular rows: noise on numbers, values of other rows."""

from __future__ import annotations

import tensorflow as tf


def noisy(values: tf.Tensor, seed: tf.Tensor, deviation: float) -> tf.Tensor:
    """Numbers with normal noise of this standard deviation, in their own unit."""
    return values + tf.random.stateless_normal(tf.shape(values), seed, stddev=deviation)


def swapped(values: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    """A `share` of the rows with the value of another row of the batch: any dtype [N, ...]."""
    for_share, for_row = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    rows = tf.shape(values)[0]
    chosen = tf.random.stateless_uniform([rows], for_share) < share
    other = tf.random.stateless_uniform([rows], for_row, 0, rows, tf.int32)
    return tf.gather(values, tf.where(chosen, other, tf.range(rows)))
