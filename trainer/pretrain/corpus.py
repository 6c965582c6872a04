"""Texts to ids, as Transform makes them, with a vocabulary of these texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfx_pipeline.errors import DataError
from transform.text import FIRST_TOKEN, UNKNOWN, ngrams

_BATCH = 2048  # Texts that are split at once.


def split(texts: Sequence[str]) -> list[list[bytes]]:
    """The words of each text, as Transform splits it."""
    found: list[list[bytes]] = []
    for start in range(0, len(texts), _BATCH):
        batch = tf.constant([text.encode() for text in texts[start : start + _BATCH]])
        found += tf.RaggedTensor.from_sparse(ngrams(batch, 1)).to_list()
    return found


def vocabulary(texts: Sequence[Sequence[bytes]], max_tokens: int, min_count: int) -> list[str]:
    """The most frequent words, the most frequent one first, as Transform learns them.

    Args:
        texts: The words of each.
        max_tokens: Words at most.
        min_count: A word that stands in fewer texts is left out.

    Raises:
        DataError: There is no such word.
    """
    counts = Counter(word for words in texts for word in set(words))
    ordered = sorted(((count, word) for word, count in counts.items()), reverse=True)
    known = [word.decode() for count, word in ordered[:max_tokens] if count >= min_count]
    if not known:
        raise DataError(
            f"no word stands in {min_count} of the {len(texts)} texts",
            hint="Give more texts, or lower `min_count` of the text column.",
        )
    return known


def ids(texts: Sequence[Sequence[bytes]], words: Sequence[str], length: int) -> np.ndarray:
    """Texts as the feature `<column>_sequence_xf` has them: int32 `[N, length]`."""
    places = {word.encode(): FIRST_TOKEN + place for place, word in enumerate(words)}
    made = np.zeros((len(texts), length), np.int32)
    for row, text in zip(made, texts, strict=True):
        found = [places.get(word, UNKNOWN) for word in text[:length]]
        row[: len(found)] = found
    return made


def batches(rows: np.ndarray, size: int, seed: int, first_step: int) -> Iterator[np.ndarray]:
    """Endless batches of exactly `size` rows; that of step `s` is a function of (seed, s)."""
    per_pass = len(rows) // size
    step = first_step
    while True:
        number, place = divmod(step, per_pass)
        order = np.random.default_rng([seed, number]).permutation(len(rows))
        for index in range(place, per_pass):
            yield rows[order[index * size : (index + 1) * size]]
            step += 1
