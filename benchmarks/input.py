"""Training from transformed TFRecords beside the same model fed from memory, in one run.

    .venv/bin/python benchmarks/input.py [--families dnn] [--batch-sizes 128 1024]

Feeds, all into the same model through `trainer.fit`'s compiled step:

- one batch: a single batch in memory, again and again: what the model takes when input is free.
- numpy: all rows as arrays, given to Keras's `fit(x, y, shuffle=True)`: the usual way.
- held: `trainer/input.py`, parsed from TFRecords into memory once (`train.cache_max_mb`).
- streamed: `trainer/input.py` with `cache_max_mb: 0`: read, shuffled and parsed in every pass.

Rows are made up (15 numeric features, 10 of ids, one bag of words), written by four writers as
gzipped TFRecords, as Transform leaves them. Feeds take turns, round by round; the first steps of a
round, which fill buffers, are not timed. Steps a second and ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NUMERIC, IDS, WORDS, VOCABULARY = 15, 10, 8, 200
SHARDS = 4
WARM_STEPS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--families", nargs="+", default=["dnn"])
    parser.add_argument("--hidden-units", type=int, nargs="+", default=[128, 64])
    parser.add_argument("--rounds", type=int, default=5, help="of each feed, in turn")
    parser.add_argument("--seconds", type=float, default=3.0, help="timed of each round, about")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    found = []
    with tempfile.TemporaryDirectory(prefix="assay-input-") as folder:
        files = write_rows(Path(folder), arguments.rows)
        for family in arguments.families:
            for batch_size in arguments.batch_sizes:
                found += measure(files, family, batch_size, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def layout() -> list[Any]:
    from transform.layout import FeatureSpec

    return [
        *(FeatureSpec(f"n{i}_xf", "dense", 1, (1,)) for i in range(NUMERIC)),
        *(FeatureSpec(f"c{i}_xf", "ids", VOCABULARY, (1,)) for i in range(IDS)),
        FeatureSpec("words_ids_xf", "bag", VOCABULARY, (None,), "words_weights_xf"),
    ]


def parse_spec() -> dict[str, Any]:
    import tensorflow as tf

    return {
        **{f"n{i}_xf": tf.io.FixedLenFeature([1], tf.float32) for i in range(NUMERIC)},
        **{f"c{i}_xf": tf.io.FixedLenFeature([1], tf.int64) for i in range(IDS)},
        "words_ids_xf": tf.io.VarLenFeature(tf.int64),
        "words_weights_xf": tf.io.VarLenFeature(tf.float32),
        "label_xf": tf.io.FixedLenFeature([], tf.int64),
    }


def write_rows(folder: Path, rows: int) -> list[str]:
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(1)
    files = []
    for shard in range(SHARDS):
        files.append(str(folder / f"transformed_examples-{shard:05}-of-{SHARDS:05}.gz"))
        with tf.io.TFRecordWriter(files[-1], options="GZIP") as writer:
            for _ in range(rows // SHARDS):
                example = tf.train.Example()
                feature = example.features.feature
                for i, value in enumerate(rng.normal(size=NUMERIC).tolist()):
                    feature[f"n{i}_xf"].float_list.value.append(value)
                for i, value in enumerate(rng.integers(0, VOCABULARY, IDS).tolist()):
                    feature[f"c{i}_xf"].int64_list.value.append(value)
                words = rng.integers(1, VOCABULARY, rng.integers(1, WORDS + 1)).tolist()
                feature["words_ids_xf"].int64_list.value.extend(words)
                feature["words_weights_xf"].float_list.value.extend([1 / len(words)] * len(words))
                feature["label_xf"].int64_list.value.append(int(rng.integers(0, 2)))
                writer.write(example.SerializeToString())
    return files


def measure(
    files: list[str], family: Any, batch_size: int, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Prints one table row a feed."""
    import tensorflow as tf
    import tf_keras

    from trainer import fit
    from trainer import input as trainer_input
    from trainer.config import ModelConfig, TrainConfig
    from trainer.models.build import LabelScale, build
    from transform.config import LabelConfig

    train = TrainConfig(batch_size=batch_size, steps=10_000, steps_per_epoch=10_000)
    label = LabelConfig(column="y", classes=["0", "1"])
    tf_keras.utils.set_random_seed(1)
    model = build(
        layout(),
        ModelConfig(family=family, hidden_units=arguments.hidden_units),
        train,
        label,
        LabelScale(),
        Path(),
    )
    fit.compile_model(model, train, label, LabelScale())
    held, streamed = (
        trainer_input.read("train", files, layout(), parse_spec(), cache_max_mb=megabytes)
        for megabytes in (4096, 0)
    )
    assert held.held is not None
    whole = held.rows // batch_size * batch_size  # A short last batch would be traced anew.
    arrays = {name: values[:whole] for name, values in held.held.features.items()}
    one = next(iter(trainer_input.train_batches(held, batch_size, 1, 0)))
    feeds: dict[str, Callable[[], Any]] = {
        "one batch": lambda: endless(tf.data.Dataset.from_tensors(one).repeat()),
        "numpy": lambda: {
            "x": arrays,
            "y": held.held.label[:whole],
            "batch_size": batch_size,
            "epochs": 10_000,
        },
        "held": lambda: endless(trainer_input.train_batches(held, batch_size, 1, 0)),
        "streamed": lambda: endless(trainer_input.train_batches(streamed, batch_size, 1, 0)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in feeds}
    for _ in range(arguments.rounds):
        for name, feed in feeds.items():
            speeds[name].append(steps_per_second(model, feed(), arguments.seconds))
    cores = len(os.sched_getaffinity(0))
    print(f"\n{family}, batch {batch_size}, {held.rows} rows, {cores} cores")
    print("feed        steps/s   of one batch   of numpy   rounds")
    for name, values in speeds.items():
        low, high = min(values), max(values)
        of = [ratio(values, speeds[peer]) for peer in ("one batch", "numpy")]
        print(
            f"{name:<10} {statistics.median(values):8.0f} {of[0]:14.2f} {of[1]:10.2f}"
            f"   {low:.0f}-{high:.0f}"
        )
    return [
        {"family": family, "batch_size": batch_size, "feed": name, "steps_per_s": found}
        for name, found in speeds.items()
    ]


def ratio(values: list[float], peers: list[float]) -> float:
    """The median over the rounds: what else the machine does slows down a round as a whole."""
    return statistics.median(a / b for a, b in zip(values, peers, strict=True))


def endless(batches: Any) -> dict[str, Any]:
    return {"x": batches, "steps_per_epoch": 1_000_000}


def steps_per_second(model: Any, fed: dict[str, Any], seconds: float) -> float:
    """Of a round of training that is timed after its first steps."""
    import tf_keras

    class Clock(tf_keras.callbacks.Callback):  # type: ignore[misc]
        started = ended = 0.0
        before = first = last = 0

        def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            self.before = self.last

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            self.ended = time.perf_counter()
            self.last = self.before + batch + 1
            if self.last >= WARM_STEPS and not self.started:
                self.started, self.first = self.ended, self.last
            if self.started and self.ended - self.started > seconds:
                self.model.stop_training = True

    clock = Clock()
    model.fit(**fed, callbacks=[clock], verbose=0)
    return (clock.last - clock.first) / (clock.ended - clock.started)


if __name__ == "__main__":
    main()
