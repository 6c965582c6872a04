"""Random changes of text: tokens lost, exchanged with a neighbour, replaced by a synonym."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfx_pipeline.errors import ConfigError
from transform.augment.config import TextAugmentConfig
from transform.text import FIRST_TOKEN, PADDING, UNKNOWN

# Synonyms of each id, padded with -1: int64 [ids, most].
Table = npt.NDArray[np.int64]


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


def read_synonyms(path: Path) -> list[list[str]]:
    """The sets of synonyms of a file: a line each, between commas; `#` begins a comment.

    Raises:
        ConfigError: It cannot be read, or a line has a single word.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the synonyms cannot be read: {error}",
            where="train.augment.text.synonyms",
            hint="Name a UTF-8 text file, each line one set: film, movie, picture",
        ) from error
    groups = []
    for number, line in enumerate(lines, 1):
        words = [word.strip().lower() for word in line.partition("#")[0].split(",")]
        words = list(dict.fromkeys(word for word in words if word))
        if len(words) == 1:
            raise ConfigError(
                f"{words[0]!r} has no synonym in its line",
                where=f"{path}:{number}",
                hint="Each line is one set of synonyms, between commas: film, movie, picture",
            )
        if words:
            groups.append(words)
    return groups


def table_of(
    groups: Sequence[Sequence[str]], vocabulary: Mapping[str, int], ids: int
) -> Table | None:
    """For each id those of its synonyms; None where no word of the vocabulary has one.

    Args:
        groups: From `read_synonyms`.
        vocabulary: Ids by word.
        ids: Number of ids.
    """
    found: dict[int, list[int]] = {}
    for words in groups:
        known = [vocabulary[word] for word in words if word in vocabulary]
        for word in known:
            others = [other for other in known if other != word]
            found.setdefault(word, []).extend(others)
    most = max((len(others) for others in found.values()), default=0)
    if not most:
        return None
    table = np.full([ids, most], -1, np.int64)
    for word, others in found.items():
        table[word, : len(others)] = others
    return table


def vocabulary_ids(words: Sequence[bytes], *, is_sequence: bool) -> dict[str, int]:
    """The id of each word of a Transform vocabulary, in its order."""
    first = FIRST_TOKEN if is_sequence else 0
    return {word.decode(errors="replace"): first + index for index, word in enumerate(words)}


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
