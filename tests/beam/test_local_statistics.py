"""StatisticsGen on `LocalRunner`: TFDV's statistics are those that it makes on FnApiRunner."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.runners.beam.options import LOCAL_RUNNER

ROWS = 2500  # Two batches and a half.
# Sums of floats, in an order that differs.
_MOMENTS = {"mean", "std_dev"}


def write(folder: Path, files: int = 1) -> None:
    """Writes rows of many kinds."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    numbers = iter(range(ROWS))
    for file in range(files):
        path = folder / f"rows-{file:05d}-of-{files:05d}.gz"
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for number in itertools.islice(numbers, math.ceil(ROWS / files)):
                writer.write(_row(number, random))


def _row(number: int, random: np.random.Generator) -> bytes:
    import tensorflow as tf

    feature = {
        "amount": _floats([] if number % 7 == 0 else [random.normal(3.0)]),
        "broken": _floats([math.nan if number % 5 == 0 else float(number)]),
        "whole": _ints([number % 100]),
        "bag": _ints(list(range(number % 4))),
        "word": _bytes([b"w%d" % (random.geometric(0.05))]),
        "rare": _bytes([b"r%d" % number] if number % 3 else []),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    written: bytes = example.SerializeToString()
    return written


def _floats(values: list[float]) -> Any:
    import tensorflow as tf

    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _ints(values: list[int]) -> Any:
    import tensorflow as tf

    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _bytes(values: list[bytes]) -> Any:
    import tensorflow as tf

    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def written_statistics(beam_args: list[str], folder: Path, out: Path) -> bytes:
    """What StatisticsGen's executor writes of a folder's examples."""
    from tfx.components.statistics_gen.executor import Executor
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.types import artifact_utils, standard_artifacts

    examples, found = standard_artifacts.Examples(), standard_artifacts.ExampleStatistics()
    examples.uri = str(folder / "examples")
    examples.split_names = artifact_utils.encode_split_names(["train"])
    found.uri = str(out)
    context = BaseBeamExecutor.Context(
        beam_pipeline_args=[*beam_args, "--sdk_container_image=local"],
        tmp_dir=str(folder / "tmp"),
        unique_id="1",
    )
    Executor(context).Do(
        {"examples": [examples]}, {"statistics": [found]}, {"exclude_splits": "[]"}
    )
    return (out / "Split-train" / "FeatureStats.pb").read_bytes()


def statistics(runner: str, folder: Path) -> dict[str, Any]:
    """Statistics of each column, from StatisticsGen's executor."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    written = written_statistics([f"--runner={runner}"], folder, folder / runner)
    made = statistics_pb2.DatasetFeatureStatisticsList()
    made.ParseFromString(written)
    [dataset] = made.datasets
    assert dataset.num_examples == ROWS
    return {feature.path.step[0]: feature for feature in dataset.features}


@pytest.mark.slow
def test_they_equal_beams_own(tmp_path: Path) -> None:
    write(tmp_path / "examples" / "Split-train")
    ours, theirs = (statistics(runner, tmp_path) for runner in (LOCAL_RUNNER, "FnApiRunner"))

    assert ours.keys() == theirs.keys()
    assert len(ours) == 6
    for name, expected in theirs.items():
        for moment in _MOMENTS if expected.HasField("num_stats") else ():
            here, there = (getattr(f.num_stats, moment) for f in (ours[name], expected))
            assert here == pytest.approx(there, rel=1e-9)
            setattr(expected.num_stats, moment, here)
        # Counts, uniques, most frequent values, histograms, quantiles: to the last bit.
        assert str(ours[name]) == str(expected)
