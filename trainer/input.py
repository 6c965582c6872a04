"""Transformed examples to batches: parsed once into memory where they fit, streamed otherwise.

The batch of step `s` is a function of (seed, s) and of the files alone. A run that is killed and
resumed at step `s` therefore sees the rows that an undisturbed run would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfx_pipeline.errors import ConfigError, DataError
from trainer.records import needed, parser, pop_label, records
from trainer.stream import shuffled_stream
from transform.config import LABEL
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

_PARSE_ROWS = 2048  # Rows a parse call: vectorized parsing costs per call, not per row.
_EVALUATE_ROWS = 4096  # Rows a validation step.
_BATCH_BYTES = 16 * 2**20  # Most of one of these; an encoder of images needs many times its input.


@dataclass(frozen=True)
class Held:
    """The parsed rows of a split, in memory.

    Attributes:
        features: Model inputs [N, ...] by name.
        label: [N, 1], int64 class ids or float32; of a multilabel [N, C], int64 of 0 and 1.
    """

    features: Mapping[str, np.ndarray]
    label: np.ndarray


@dataclass(frozen=True)
class Split:
    """One split of the transformed examples.

    Attributes:
        name: For messages.
        files: The TFRecord files; `.gz` are gzipped.
        layout: The features.
        spec: `tf.io.parse_example` spec of the features and the label.
        rows: N.
        held: The rows, or None where they do not fit in memory and are streamed.
        bootstrap: With a seed, training takes as many draws of the rows, with replacement, in
            their place: the same ones in every pass. Only of held rows.
        row_bytes: Size of the widest parsed row, where they are streamed.
    """

    name: str
    files: tuple[str, ...]
    layout: Sequence[FeatureSpec]
    spec: Mapping[str, Any]
    rows: int
    held: Held | None
    bootstrap: int | None = None
    row_bytes: int = 0


def expand(patterns: Sequence[str]) -> tuple[str, ...]:
    """The files that TFX's patterns (`<uri>/Split-train/*`) match, sorted."""
    import tensorflow as tf

    return tuple(sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern)))


def read(
    name: str,
    files: Sequence[str],
    layout: Sequence[FeatureSpec],
    spec: Mapping[str, Any],
    *,
    cache_max_mb: int,
) -> Split:
    """Parses a split into memory, until its tensors hold more than `cache_max_mb`.

    Whether it fits is measured, not guessed: rows are parsed until they are all there or their
    tensors, every row as wide as the widest so far, exceed the limit; from there on they are only
    counted. While the parsed batches are joined they take twice their size.

    Args:
        name: The split's name, for messages.
        files: Its TFRecord files.
        layout: The features; bags are held dense, padded to the longest of the split.
        spec: `tf.io.parse_example` spec of all transformed features and `label_xf`.
        cache_max_mb: Most megabytes to hold.

    Raises:
        DataError: There are no rows, or a file is no TFRecord file of such examples.
    """
    import tensorflow as tf

    spec = needed(layout, spec)
    chunks: list[dict[str, np.ndarray]] = []
    row_bytes: dict[str, int] = {}
    rows = 0
    fits = True
    dataset = (
        records(files).batch(_at_once(layout, _PARSE_ROWS)).map(parser(layout, spec), 2).prefetch(2)
    )
    try:
        for batch in dataset:
            chunk = {key: value.numpy() for key, value in batch.items()}
            rows += len(chunk[LABEL])
            for key, value in chunk.items():
                row_bytes[key] = max(row_bytes.get(key, 0), value[0].nbytes)
            fits = fits and rows * sum(row_bytes.values()) <= cache_max_mb * 2**20
            if fits:
                chunks.append(chunk)
                continue
            chunks.clear()
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise DataError(
            f"the transformed examples of split {name!r} cannot be read: {error.message}",
            where=files[0],
            hint="Run again from Transform: `assay run --from Transform`.",
        ) from error
    if not rows:
        raise DataError(
            f"split {name!r} has 0 rows",
            where=", ".join(files),
            hint="Check data.split: its fractions, key or column leave nothing for this split.",
        )
    if not fits:
        return Split(
            name, tuple(files), layout, spec, rows, None, row_bytes=sum(row_bytes.values())
        )
    arrays = {key: _join([chunk[key] for chunk in chunks]) for key in chunks[0]}
    label = arrays.pop(LABEL)
    return Split(name, tuple(files), layout, spec, rows, Held(arrays, label))


def train_batches(
    split: Split,
    batch_size: int,
    seed: int,
    first_step: int,
    prepare: Callable[[dict[str, Any], Any, Any], tuple[dict[str, Any], Any]] | None = None,
) -> tf.data.Dataset:
    """Endless shuffled batches of exactly `batch_size` rows, from step `first_step` on.

    Every pass over the rows has its own order and leaves out another remainder.

    Args:
        split: The rows.
        batch_size: Rows a batch.
        seed: With the step, what a batch follows from.
        first_step: The step that the first batch is of.
        prepare: From (features, label, the int64 [2] of seed and step) to what is trained on.

    Returns:
        Dataset of (features by name [batch_size, ...], label as in `Held`), or of what
        `prepare` makes of them.

    Raises:
        ConfigError: The split has fewer rows than one batch.
    """
    if split.rows < batch_size:
        raise ConfigError(
            f"train.batch_size is {batch_size}, but split {split.name!r} has only {split.rows} "
            "rows: not one full batch",
            where="train.batch_size",
            hint=f"Set train.batch_size to {split.rows} or less.",
        )
    dataset = (
        shuffled_stream(
            split.files,
            split.layout,
            split.spec,
            rows=split.rows,
            row_bytes=split.row_bytes,
            batch_size=batch_size,
            seed=seed,
            first=first_step,
        )
        if split.held is None
        else _shuffled_gather(split.held, drawn(split), batch_size, seed, first_step)
    )
    if prepare is not None:
        import tensorflow as tf

        def prepared(step: Any, batch: tuple[dict[str, Any], Any]) -> tuple[dict[str, Any], Any]:
            return prepare(*batch, tf.stack([tf.constant(seed, tf.int64), step]))

        prepared = tf.autograph.experimental.do_not_convert(prepared)
        dataset = dataset.enumerate(first_step).map(prepared, num_parallel_calls=2).prefetch(4)
    return dataset.with_options(_options())


def all_batches(split: Split) -> tf.data.Dataset:
    """Every row once, in file order: (features by name, label as in `Held`), the last batch
    short."""
    import tensorflow as tf

    at_once = _at_once(split.layout, _EVALUATE_ROWS)
    if split.held is not None:
        dataset = tf.data.Dataset.from_tensor_slices((dict(split.held.features), split.held.label))
        dataset = dataset.batch(at_once)
    else:
        dataset = records(split.files).batch(at_once)
        dataset = dataset.map(parser(split.layout, split.spec), 2).map(pop_label)
        # Keras takes several steps a call and must know how many there are.
        batches = -(-split.rows // at_once)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(batches))
    return dataset.prefetch(2).with_options(_options())


def _at_once(layout: Sequence[FeatureSpec], most: int) -> int:
    """Rows of a batch that is read and not trained on: fewer where they are large."""
    numbers = sum(spec.size for spec in layout if spec.kind in ("dense", "image", "series"))
    return max(1, min(most, _BATCH_BYTES // (4 * max(1, numbers))))


def first_rows(split: Split, count: int = 256) -> dict[str, np.ndarray]:
    """The model inputs of the first rows, by name [count, ...]; fewer where there are no more."""
    if split.held is not None:
        return {name: values[:count] for name, values in split.held.features.items()}
    chunks: dict[str, list[np.ndarray]] = {}
    there = 0
    for features, label in all_batches(split):
        for name, values in features.items():
            chunks.setdefault(name, []).append(values.numpy())
        there += len(label)
        if there >= count:
            break
    return {name: _join(values)[:count] for name, values in chunks.items()}


def label_moments(split: Split) -> tuple[float, float]:
    """Mean and standard deviation of the split's label, in float64."""
    import numpy as np

    if split.held is not None:
        batches: Iterable[np.ndarray] = [split.held.label]
    else:
        batches = (label.numpy() for _, label in all_batches(split))
    rows, mean, squares = 0, 0.0, 0.0
    for batch in batches:
        values = batch.astype(np.float64)
        # Chan's update: a sum of squares of large labels would lose the variance.
        shift = values.mean() - mean
        total = rows + values.size
        squares += values.var() * values.size + shift**2 * rows * values.size / total
        mean += shift * values.size / total
        rows = total
    return float(mean), float(np.sqrt(squares / rows))


def drawn(split: Split) -> tf.Tensor:
    """The rows that a pass is over: int64 [N], in order, or those of the split's bootstrap."""
    import tensorflow as tf

    if split.bootstrap is None:
        return tf.range(split.rows, dtype=tf.int64)
    return tf.random.stateless_uniform(
        [split.rows], [split.bootstrap, split.rows], maxval=split.rows, dtype=tf.int64
    )


def _shuffled_gather(
    held: Held, rows: tf.Tensor, batch_size: int, seed: int, first: int
) -> tf.data.Dataset:
    import tensorflow as tf

    features = {name: tf.constant(value) for name, value in held.features.items()}
    label = tf.constant(held.label)
    batches_a_pass = len(rows) // batch_size

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(rows, seed=tf.stack([seed, number]))
        full = order[: batches_a_pass * batch_size]
        return tf.data.Dataset.from_tensor_slices(tf.reshape(full, [-1, batch_size]))

    def batch(index: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        return {name: tf.gather(v, index) for name, v in features.items()}, tf.gather(label, index)

    passes = tf.data.Dataset.range(first // batches_a_pass, tf.int64.max).flat_map(one_pass)
    indices = passes.skip(first % batches_a_pass)
    return indices.map(batch, num_parallel_calls=1).prefetch(16)


def _join(chunks: Sequence[np.ndarray]) -> np.ndarray:
    """Joins [n, ...] arrays along rows; those of varying length are padded with zeros."""
    import numpy as np

    if len({chunk.shape[1:] for chunk in chunks}) > 1:
        width = max(chunk.shape[1] for chunk in chunks)
        chunks = [np.pad(chunk, ((0, 0), (0, width - chunk.shape[1]))) for chunk in chunks]
    return np.concatenate(chunks)


def _options() -> tf.data.Options:
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = True
    # Under a multi-worker strategy each worker takes its share of the rows, not of the files,
    # of which there may be fewer than workers.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options
