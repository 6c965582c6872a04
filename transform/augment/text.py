"""Random changes of text: tokens lost, exchanged with a neighbour, replaced by a synonym."""

from __future__ import annotations

import tensorflow as tf

from transform.augment.config import TextAugmentConfig
from transform.augment.synonyms import Table
from transform.text import PADDING, UNKNOWN


def sequence(
    ids: tf.Tensor, seed: tf.Tensor, config: TextAugmentConfig, table: Table | None = None
) -> tf.Tensor:
    """Token ids int64 [N, L], changed; padding stays where it is."""
    for_words, for_swap, for_loss = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    if table is not None:
        ids = _replaced(ids, for_words, config.synonym_share, table)
    if config.swap:
        ids = _swapped(ids, for_swap, config.swap)
    if config.dropout:
        lost = tf.random.stateless_uniform(tf.shape(ids), for_loss) < config.dropout
        ids = tf.where(tf.logical_and(lost, ids != PADDING), tf.constant(UNKNOWN, ids.dtype), ids)
    return ids


def bag(
    ids: tf.Tensor,
    weights: tf.Tensor,
    seed: tf.Tensor,
    config: TextAugmentConfig,
    table: Table | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Ids int64 [N, L] and weights float32 [N, L] of bags, changed; they have no order to swap."""
    for_words, for_loss = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    if table is not None:
        ids = _replaced(ids, for_words, config.synonym_share, table)
    if config.dropout:
        lost = tf.random.stateless_uniform(tf.shape(ids), for_loss) < config.dropout
        weights = tf.where(lost, tf.zeros_like(weights), weights)
    return ids, weights


def _replaced(ids: tf.Tensor, seed: tf.Tensor, share: float, table: Table) -> tf.Tensor:
    for_share, for_which = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    chosen = tf.random.stateless_uniform(tf.shape(ids), for_share) < share
    counts = tf.constant((table >= 0).sum(axis=1), tf.int64)
    count = tf.gather(counts, ids)
    drawn = tf.random.stateless_uniform(tf.shape(ids), for_which, dtype=tf.float64)
    which = tf.cast(drawn * tf.cast(count, tf.float64), tf.int64)
    other = tf.gather_nd(tf.constant(table), tf.stack([ids, which], axis=-1))
    return tf.where(tf.logical_and(chosen, count > 0), other, ids)


def _swapped(ids: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    """Exchanges pairs of neighbours (2i, 2i + 1), or (2i + 1, 2i + 2) in half of the rows."""
    for_start, for_share = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    rows, length = tf.shape(ids)[0], tf.shape(ids)[1]
    place = tf.range(length)[tf.newaxis]
    start = tf.random.stateless_uniform([rows, 1], for_start, 0, 2, tf.int32)
    is_first = (place - start) % 2 == 0
    partner = tf.where(is_first, place + 1, place - 1)
    inside = tf.logical_and(partner >= 0, partner < length)
    partner = tf.clip_by_value(partner, 0, length - 1)
    # Both of a pair look up one draw: that of its first place.
    draw = tf.random.stateless_uniform(tf.shape(ids), for_share)
    of_pair = tf.gather(draw, tf.minimum(place, partner), batch_dims=1)
    other = tf.gather(ids, partner, batch_dims=1)
    both = tf.logical_and(ids != PADDING, other != PADDING)
    return tf.where(inside & both & (of_pair < share), other, ids)
