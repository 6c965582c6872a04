"""Free text, as a bag of n-grams: ids and weights of the n-grams that the vocabulary knows.

The bag is two features of one varying length, not a vector as wide as the vocabulary: a row of
5,000 floats would be 20 kB in the transformed examples, a bag of 50 words is 600 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
import tensorflow_transform as tft

from transform import ranges, raw, vocabulary
from transform.categorical import vocabulary_name
from transform.config import TextFeature, feature_name

# Letters, marks, digits and the underscore of any script make a word (RE2 syntax).
_NOT_A_WORD = r"[^\p{L}\p{M}\p{N}_]+"


def features(
    inputs: Mapping[str, raw.RawColumn], columns: Mapping[str, TextFeature]
) -> dict[str, tf.SparseTensor]:
    """`<column>_ids_xf` (int64) and `<column>_weights_xf` (float32), sparse `[N, None]`, aligned.

    An id appears once a row. A missing text, or one with no known n-gram, is an empty bag.
    """
    outputs = {}
    for name, feature in columns.items():
        ids, weights = _bag(raw.column(inputs, name, tf.string)[:, 0], name, feature)
        outputs[feature_name(name, "ids")] = ids
        outputs[feature_name(name, "weights")] = weights
    return outputs


def ngrams(texts: tf.Tensor, longest: int) -> tf.SparseTensor:
    """Lower-cased n-grams of 1 to `longest` words: string `[N]` to sparse `[N, None]`."""
    lower = tf.strings.lower(texts, encoding="utf-8")
    words = tf.strings.regex_replace(lower, _NOT_A_WORD, " ")
    tokens = tf.strings.split(tf.strings.strip(words)).to_sparse()
    return tft.ngrams(tokens, (1, longest), separator=" ") if longest > 1 else tokens


def counts(ids: tf.SparseTensor, size: int) -> tuple[tf.SparseTensor, tf.SparseTensor]:
    """How often each id occurs in each row.

    Args:
        ids: int64 `[N, None]`, each in 0..size-1.
        size: Number of ids.

    Returns:
        The distinct ids of each row, ascending (int64 `[N, None]`), and their counts (float32).
    """
    rows = ids.indices[:, 0]
    pairs, _, count = tf.unique_with_counts(tf.sort(rows * size + ids.values))
    row, distinct = pairs // size, pairs % size
    first = tf.searchsorted(row, row, side="left", out_type=tf.int64)
    position = tf.range(tf.size(row, tf.int64)) - first
    indices = tf.stack([row, position], axis=1)
    width = tf.reduce_max(tf.concat([position + 1, tf.zeros([1], tf.int64)], axis=0))
    shape = tf.stack([ids.dense_shape[0], width])
    return (
        tf.SparseTensor(indices, distinct, shape),
        tf.SparseTensor(indices, tf.cast(count, tf.float32), shape),
    )


def _bag(
    texts: tf.Tensor, name: str, feature: TextFeature
) -> tuple[tf.SparseTensor, tf.SparseTensor]:
    grams = ngrams(texts, feature.ngrams)
    path = vocabulary.vocabulary(
        # Once a row, so that `min_count` counts rows.
        tft.deduplicate_tensor_per_row(grams),
        name=vocabulary_name(name),
        top_k=feature.max_tokens,
        min_count=feature.min_count,
    )
    ids = tft.apply_vocabulary(grams, path, default_value=-1)
    known = tf.sparse.retain(ids, ids.values >= 0)
    if feature.weight == "count":
        distinct, weights = counts(known, feature.max_tokens)
    else:
        distinct, weights = tft.tfidf(known, feature.max_tokens)
    ranges.ids_up_to(distinct.values, tf.maximum(ranges.highest_of(ids.values), 0))
    return distinct, weights
