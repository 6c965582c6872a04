"""Shuffled batches of rows that do not fit in memory, read and parsed anew in every pass.

Rows are worked off in windows: read in blocks from several files in turn, parsed and shuffled as
one tensor a column, cut into batches. What costs time by the row is then only reading and parsing;
with a shuffle buffer of serialized rows and a parse call a batch, the same rows took twice as long
(benchmarks/input.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainer.records import parser, pop_label, records_of
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tensorflow as tf

_WINDOW_ROWS = 20_000  # What is shuffled among each other, when rows are small.
_WINDOW_BYTES = 256 * 2**20  # Of parsed rows: of large ones a window holds fewer. Up to three wait.
_BLOCK_ROWS = 64  # Rows in a row that come from one file.
_FILES_AT_ONCE = 4


def shuffled_stream(
    files: Sequence[str],
    layout: Sequence[FeatureSpec],
    spec: Mapping[str, Any],
    *,
    rows: int,
    row_bytes: int,
    batch_size: int,
    seed: int,
    first: int,
) -> tf.data.Dataset:
    """Endless batches of (features by name, label), from batch `first` on.

    Every pass reads the files in another order and leaves out another remainder.

    Args:
        files: TFRecord files.
        layout: The features.
        spec: `tf.io.parse_example` spec of the features and the label.
        rows: In all files together.
        row_bytes: Size of a parsed row, padded to the widest; 0: not known, small.
        batch_size: Rows a batch, at most `rows`.
        seed: With the pass, what its order follows from.
        first: Number of the first batch.
    """
    import tensorflow as tf

    batches_a_pass = rows // batch_size
    most_rows = min(_WINDOW_ROWS, _WINDOW_BYTES // max(row_bytes, 1))
    batches_a_window = _batches_a_window(batches_a_pass, most_rows // batch_size)
    windows_a_pass = -(-batches_a_pass // batches_a_window)
    rows_a_window = batches_a_window * batch_size if windows_a_pass > 1 else rows
    parse = parser(layout, spec)
    names = tf.constant(list(files))

    def windows_of_pass(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(names, seed=tf.stack([seed, number]))
        blocks = tf.data.Dataset.from_tensor_slices(order).interleave(
            lambda file: records_of(file).batch(_BLOCK_ROWS),
            cycle_length=_FILES_AT_ONCE,
            num_parallel_calls=2,
            deterministic=True,
        )
        return blocks.rebatch(rows_a_window).enumerate(number * windows_a_pass)

    def batches_of_window(number: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.size(serialized, tf.int64)
        last = batches_a_pass - (windows_a_pass - 1) * batches_a_window
        is_last = number % windows_a_pass == windows_a_pass - 1
        kept = tf.where(is_last, last, batches_a_window) * batch_size
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([seed, number])
        )[:kept]
        columns = parse(serialized)
        return {
            name: _batched(tf.gather(value, order), batch_size) for name, value in columns.items()
        }

    first_pass, batch = divmod(first, batches_a_pass)
    windows, batches = divmod(batch, batches_a_window)
    dataset = tf.data.Dataset.range(first_pass, tf.int64.max).flat_map(windows_of_pass)
    dataset = dataset.skip(windows).map(batches_of_window, num_parallel_calls=1).prefetch(1)
    dataset = dataset.flat_map(tf.data.Dataset.from_tensor_slices).skip(batches)
    trim = _trimmer(layout)
    return dataset.map(lambda columns: pop_label(trim(columns)), num_parallel_calls=1).prefetch(16)


def _batches_a_window(batches_a_pass: int, most: int) -> int:
    """About `most`, at least 2, and no divisor of a pass of several windows: then the last window
    is not full, takes in the remainder, and leaves out rows by chance, not those at the end."""
    count = max(2, most)
    while count < batches_a_pass and batches_a_pass % count == 0:
        count += 1
    return min(count, batches_a_pass)


def _batched(values: tf.Tensor, batch_size: int) -> tf.Tensor:
    """[n * batch_size, ...] as [n, batch_size, ...]."""
    import tensorflow as tf

    cut = tf.reshape(values, tf.concat([[-1, batch_size], tf.shape(values)[1:]], 0))
    cut.set_shape([None, batch_size, *values.shape[1:]])
    return cut


def _trimmer(layout: Sequence[FeatureSpec]) -> Any:
    """Cuts a batch's bags, padded to the window's longest, to what any of its rows has."""
    import tensorflow as tf

    bags = [(spec.name, spec.weights) for spec in layout if spec.weights]

    def trim(columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        columns = dict(columns)
        for ids, weights in bags:
            used = tf.reduce_any(columns[weights] != 0, axis=0)
            longest = tf.reduce_max(tf.where(used, tf.range(1, tf.size(used) + 1), 1))
            for name in (ids, weights):
                columns[name] = columns[name][:, :longest]
        return columns

    return trim
