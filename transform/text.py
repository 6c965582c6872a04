"""Free text, as a bag of n-grams or as a sequence of tokens, by a vocabulary of the training rows.

The bag is two features of one varying length, not a vector as wide as the vocabulary: a row of
5,000 floats would be 20 kB in the transformed examples, a bag of 50 words is 600 bytes. The
sequence is cut and padded in this graph, and so in the exported one: a client sends text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform import common_types

from transform import ranges, raw, vocabulary
from transform.categorical import vocabulary_name
from transform.config import TextFeature, feature_name
from transform.vocabulary_file import read_words

# Ids of a sequence; the vocabulary's follow.
PADDING, UNKNOWN = 0, 1
FIRST_TOKEN = 2

# Letters, marks, digits and the underscore of any script make a word (RE2 syntax).
_NOT_A_WORD = r"[^\p{L}\p{M}\p{N}_]+"


def features(
    inputs: Mapping[str, raw.RawColumn], columns: Mapping[str, TextFeature]
) -> dict[str, tf.Tensor | tf.SparseTensor]:
    """Of a bag `<column>_ids_xf` (int64) and `<column>_weights_xf` (float32), sparse `[N, None]`,
    aligned; of a sequence `<column>_sequence_xf`, int64 `[N, max_length]`.

    An id appears once in a row of a bag. A missing text, or one with no known n-gram, is an empty
    bag; a missing text is a sequence of padding alone.
    """
    outputs: dict[str, tf.Tensor | tf.SparseTensor] = {}
    for name, feature in columns.items():
        texts = raw.column(inputs, name, tf.string)[:, 0]
        if feature.output == "sequence":
            outputs[feature_name(name, "sequence")] = _sequence(texts, name, feature)
            continue
        ids, weights = _bag(texts, name, feature)
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


def padded(ids: tf.SparseTensor, length: int) -> tf.Tensor:
    """The first `length` ids of each row, filled up with 0: int64 `[N, None]` to `[N, length]`."""
    rows = ids.dense_shape[0]
    size = tf.stack([rows, tf.constant(length, tf.int64)])
    first = tf.sparse.slice(ids, [0, 0], size)
    wide = tf.sparse.to_dense(tf.SparseTensor(first.indices, first.values, size))
    return tf.ensure_shape(wide, [None, length])


def _sequence(texts: tf.Tensor, name: str, feature: TextFeature) -> tf.Tensor:
    tokens = ngrams(texts, 1)
    found = tft.apply_vocabulary(tokens, _vocabulary(tokens, name, feature), default_value=-1)
    ids = padded(found.with_values(found.values + FIRST_TOKEN), feature.max_length)
    known = tf.maximum(ranges.highest_of(found.values), 0)
    return ranges.ids_up_to(ids, known + FIRST_TOKEN)


def _vocabulary(
    grams: tf.SparseTensor, name: str, feature: TextFeature
) -> common_types.TemporaryAnalyzerOutputType:
    return vocabulary.vocabulary(
        # Once a row, so that `min_count` counts rows.
        tft.deduplicate_tensor_per_row(grams),
        name=vocabulary_name(name),
        top_k=feature.max_tokens,
        min_count=feature.min_count,
        words=read_words(Path(feature.vocabulary)) if feature.vocabulary else None,
    )


def _bag(
    texts: tf.Tensor, name: str, feature: TextFeature
) -> tuple[tf.SparseTensor, tf.SparseTensor]:
    grams = ngrams(texts, feature.ngrams)
    ids = tft.apply_vocabulary(grams, _vocabulary(grams, name, feature), default_value=-1)
    known = tf.sparse.retain(ids, ids.values >= 0)
    if feature.weight == "count":
        distinct, weights = counts(known, feature.max_tokens)
    else:
        distinct, weights = tft.tfidf(known, feature.max_tokens)
    ranges.ids_up_to(distinct.values, tf.maximum(ranges.highest_of(ids.values), 0))
    return distinct, weights
