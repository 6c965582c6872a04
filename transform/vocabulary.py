"""A vocabulary analyzer that TFT can pack with the others: one combine, one file.

`tft.vocabulary` counts through a shuffle and builds some 50 Beam stages a column, which dominate
the run of a small table; `tft.experimental.approximate_vocabulary` packs, but has no `min_count`
and gets approximate as soon as there are more values than the vocabulary may keep. This is the
latter's graph with a sketch that stays exact up to `EXACT_VALUES` distinct values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow_transform import analyzer_nodes, analyzers, common_types, nodes, tf_utils
from tfx_bsl import sketches

# Counts of this many distinct values fit in some 20 MB. Past it the sketch forgets the rarest
# (Misra-Gries): a count is then low by at most rows / EXACT_VALUES.
EXACT_VALUES = 200_000
# Field and text of a line in a vocabulary file.
_Pairs = np.ndarray[Any, np.dtype[np.object_]]


def vocabulary(
    values: common_types.TensorType,
    *,
    name: str,
    top_k: int,
    min_count: int = 1,
    words: Sequence[str] | None = None,
) -> common_types.TemporaryAnalyzerOutputType:
    """The most frequent values, as a vocabulary file in the transform graph's assets.

    As in `tft.vocabulary`, the empty string and values with a line break are left out, and equally
    frequent values stand in reverse lexicographical order.

    Args:
        values: string, dense or sparse, any shape.
        name: Key of the vocabulary: `TFTransformOutput.vocabulary_by_name`.
        top_k: Number of values kept at most.
        min_count: A value that occurs less often is left out.
        words: The vocabulary, in its order, whatever the values are; None: it is learned from them.

    Returns:
        The file, for `tft.apply_vocabulary`.
    """
    with tf.compat.v1.name_scope(None, "vocabulary"):
        filename = _filename(name)
        analyzers.register_vocab(filename, vocabulary_key=name)
        batch = tf_utils.reduce_batch_weighted_counts(
            values,
            force=True,
            filter_regex=analyzers.get_vocab_newline_characters_regex(tf.string, "text"),
        )
        counter = _Counter(top_k, min_count) if words is None else _Given(words)
        counted = analyzers.apply_cacheable_combine_operation(
            counter, batch.unique_x, batch.counts_per_x
        )
        written = nodes.apply_operation(
            analyzer_nodes.VocabularyOrderAndWrite,
            nodes.apply_operation(analyzer_nodes.FlattenLists, *counted),
            vocab_filename=filename,
            store_frequency=False,
            input_dtype="string",
            file_format="text",
            fingerprint_shuffle=False,
            input_is_sorted=True,
        )
        return analyzer_nodes.wrap_as_tensor(written)


def _filename(name: str) -> str:
    """A file name that no other vocabulary has: TFT's alone is one for `user.id` and `user_id`."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{analyzers.sanitized_vocab_filename(name)}_{digest}"


class _SketchCoder(analyzer_nodes.CacheCoder):
    """Writes a counter's state to the analyzer cache."""

    def encode_cache(self, accumulator: sketches.MisraGriesSketch) -> bytes:
        return accumulator.Serialize()

    def decode_cache(self, encoded_accumulator: bytes) -> sketches.MisraGriesSketch:
        return sketches.MisraGriesSketch.Deserialize(encoded_accumulator)


class _Counter(analyzer_nodes.Combiner):
    """Counts values; its output are the `top_k` most frequent ones as (count, value) pairs."""

    def __init__(self, top_k: int, min_count: int) -> None:
        self._top_k = top_k
        self._min_count = min_count

    def create_accumulator(self) -> sketches.MisraGriesSketch:
        return sketches.MisraGriesSketch(
            max(EXACT_VALUES, self._top_k),
            order_on_tie=sketches.MisraGriesSketch.OrderOnTie.ReverseLexicographical,
        )

    def add_input(
        self, accumulator: sketches.MisraGriesSketch, next_input: tuple[_Pairs, _Pairs]
    ) -> sketches.MisraGriesSketch:
        values, counts = next_input
        if values.size:
            accumulator.AddValues(pa.array(values), pa.array(counts, pa.float32()))
        return accumulator

    def merge_accumulators(
        self, accumulators: Iterable[sketches.MisraGriesSketch]
    ) -> sketches.MisraGriesSketch:
        first, *others = accumulators
        for other in others:
            first.Merge(other)
        return first

    def extract_output(self, accumulator: sketches.MisraGriesSketch) -> _Pairs:
        values, counts = accumulator.Estimate().flatten()
        kept = [
            (count, value)
            for value, count in zip(values.to_pylist(), counts.to_pylist(), strict=True)
            if count >= self._min_count
        ][: self._top_k]
        # TFT's stand-in for "no value": a file of no lines is no valid vocabulary.
        kept = kept or [analyzers.get_empy_vocabulary_dummy_value("string")]
        pairs = np.empty((1, len(kept), 2), dtype=object)
        pairs[0] = kept
        return pairs

    def output_tensor_infos(self) -> list[analyzer_nodes.TensorInfo]:
        return [analyzer_nodes.TensorInfo(tf.string, [None, 2], None)]

    @property
    def accumulator_coder(self) -> _SketchCoder:
        return _SketchCoder()


class _Given(_Counter):
    """Keeps to a vocabulary that is given; so it becomes a file of the transform graph as a learned
    one does."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(len(words), 1)
        self._words = [word.encode() for word in words]

    def add_input(
        self, accumulator: sketches.MisraGriesSketch, next_input: tuple[_Pairs, _Pairs]
    ) -> sketches.MisraGriesSketch:
        return accumulator

    def extract_output(self, accumulator: sketches.MisraGriesSketch) -> _Pairs:
        pairs = np.empty((1, len(self._words), 2), dtype=object)
        pairs[0] = [(1, word) for word in self._words]
        return pairs
