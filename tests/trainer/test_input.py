"""Batches: every row once a pass, an order that depends on (seed, step) alone, clear refusals."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import ConfigError, DataError
from trainer import input as trainer_input
from trainer import stream
from transform.layout import FeatureSpec

LAYOUT = [
    FeatureSpec("row_xf", "dense", 1, (1,)),
    FeatureSpec("words_ids_xf", "bag", 50, (None,), "words_weights_xf"),
]
ROWS = 50


def parse_spec() -> dict[str, Any]:
    import tensorflow as tf

    return {
        "row_xf": tf.io.FixedLenFeature([1], tf.float32),
        "words_ids_xf": tf.io.VarLenFeature(tf.int64),
        "words_weights_xf": tf.io.VarLenFeature(tf.float32),
        "unused_xf": tf.io.FixedLenFeature([1], tf.float32),
        "label_xf": tf.io.FixedLenFeature([], tf.float32),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two gzipped files; row i has i % 4 words and the label 1000 + i."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("Split-train")
    for part, numbers in enumerate((range(30), range(30, ROWS))):
        with tf.io.TFRecordWriter(str(folder / f"rows-{part}.gz"), options="GZIP") as writer:
            for i in numbers:
                example = tf.train.Example()
                features = example.features.feature
                features["row_xf"].float_list.value.append(i)
                features["words_ids_xf"].int64_list.value.extend(range(1, 1 + i % 4))
                features["words_weights_xf"].float_list.value.extend([0.5] * (i % 4))
                features["unused_xf"].float_list.value.append(0)
                features["label_xf"].float_list.value.append(1000 + i)
                writer.write(example.SerializeToString())
    return list(trainer_input.expand([str(folder / "*")]))


def split(files: list[str], cache_max_mb: int) -> trainer_input.Split:
    return trainer_input.read("train", files, LAYOUT, parse_spec(), cache_max_mb=cache_max_mb)


def order(data: trainer_input.Split, first: int, count: int, seed: int = 1) -> list[list[float]]:
    batches = trainer_input.train_batches(data, 8, seed, first)
    return [label.numpy()[:, 0].tolist() for _, label in islice(batches, count)]


def flat(batches: list[list[float]]) -> list[float]:
    return [row for batch in batches for row in batch]


@pytest.fixture(params=["in_memory", "streamed", "in_windows"])
def data(
    request: pytest.FixtureRequest, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> trainer_input.Split:
    if request.param == "in_windows":
        monkeypatch.setattr(stream, "_WINDOW_ROWS", 16)  # Four batches, then two, a pass.
        monkeypatch.setattr(stream, "_BLOCK_ROWS", 4)
    found = split(files, 100 if request.param == "in_memory" else 0)
    assert (found.held is not None) == (request.param == "in_memory")
    return found


def test_a_pass_has_no_row_twice_and_the_next_another_order(data: trainer_input.Split) -> None:
    first, second = order(data, 0, 6), order(data, 6, 6)
    for one_pass in (first, second):
        seen = flat(one_pass)
        assert len(seen) == 48
        assert len(set(seen)) == 48
    assert first != second
    assert flat(first) != sorted(flat(first))


def test_no_row_is_left_out_of_every_pass(data: trainer_input.Split, files: list[str]) -> None:
    """Of 50 rows a pass has 48; also where all come from one file, whose order is its own."""
    for several in (data, split(files[:1], 0)):
        assert len(set(flat(order(several, 0, 24)))) == several.rows


def test_the_order_is_a_function_of_seed_and_step(data: trainer_input.Split) -> None:
    whole = order(data, 0, 15)
    assert order(data, 0, 15) == whole
    assert order(data, 9, 6) == whole[9:]
    assert order(data, 0, 3, seed=2) != whole[:3]


def test_features_stay_with_their_label(data: trainer_input.Split) -> None:
    features, label = next(iter(trainer_input.train_batches(data, 8, 1, 0)))
    rows = features["row_xf"].numpy()
    assert (label.numpy() - rows).tolist() == [[1000.0]] * 8
    weights = features["words_weights_xf"].numpy().sum(axis=1)
    np.testing.assert_array_equal(weights, 0.5 * (rows[:, 0] % 4))
    assert set(features) == {"row_xf", "words_ids_xf", "words_weights_xf"}


def test_validation_sees_every_row_once(data: trainer_input.Split) -> None:
    labels = [label.numpy() for _, label in trainer_input.all_batches(data)]
    assert np.concatenate(labels)[:, 0].tolist() == [1000.0 + i for i in range(ROWS)]


def test_large_rows_are_validated_a_few_at_a_time(
    data: trainer_input.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Four bytes a number: this is seven rows of what is not a bag.
    numbers = sum(spec.size for spec in data.layout if spec.kind == "dense")
    monkeypatch.setattr(trainer_input, "_BATCH_BYTES", 7 * 4 * numbers)
    sizes = [len(label) for _, label in trainer_input.all_batches(data)]
    assert sizes[:-1] == [7] * (ROWS // 7)
    assert sum(sizes) == ROWS


def test_first_rows_of_several_batches(
    data: trainer_input.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_input, "_EVALUATE_ROWS", 3)
    for count, there in ((2, 2), (7, 7), (60, ROWS)):
        rows = trainer_input.first_rows(data, count)
        assert rows["row_xf"][:, 0].tolist() == list(range(there))
        assert {len(values) for values in rows.values()} == {there}
    words = rows["words_weights_xf"]  # Row i has i % 4.
    np.testing.assert_array_equal((words > 0).sum(axis=1), np.arange(ROWS) % 4)


def test_moments_of_a_large_label(data: trainer_input.Split) -> None:
    mean, std = trainer_input.label_moments(data)
    assert mean == pytest.approx(1024.5)
    assert std == pytest.approx(np.std(np.arange(ROWS)))


def test_a_batch_larger_than_the_data_names_both_numbers(files: list[str]) -> None:
    for cache in (100, 0):
        data = trainer_input.read("train", files, LAYOUT, parse_spec(), cache_max_mb=cache)
        with pytest.raises(ConfigError, match="is 64, but split 'train' has only 50 rows"):
            trainer_input.train_batches(data, 64, 1, 0)


def test_what_is_held_is_measured_with_its_padding(
    tmp_path: Path,
) -> None:
    """One long row widens all: 2,048 short rows come first, the long one in a later parse call."""
    import tensorflow as tf

    file = str(tmp_path / "rows.gz")
    with tf.io.TFRecordWriter(file, options="GZIP") as writer:
        for words in [1] * 2100 + [1000]:
            example = tf.train.Example()
            features = example.features.feature
            features["row_xf"].float_list.value.append(0)
            features["words_ids_xf"].int64_list.value.extend([1] * words)
            features["words_weights_xf"].float_list.value.extend([0.5] * words)
            features["label_xf"].float_list.value.append(0)
            writer.write(example.SerializeToString())
    # 2,101 rows of 1,000 ids (8 bytes) and weights (4 bytes) are 24 MB; unpadded, less than 1.
    assert trainer_input.read("train", [file], LAYOUT, parse_spec(), cache_max_mb=20).held is None
    held = trainer_input.read("train", [file], LAYOUT, parse_spec(), cache_max_mb=30).held
    assert held is not None
    assert held.features["words_ids_xf"].shape == (2101, 1000)


def test_an_empty_split(tmp_path: Path) -> None:
    import tensorflow as tf

    file = str(tmp_path / "rows.gz")
    tf.io.TFRecordWriter(file, options="GZIP").close()
    with pytest.raises(DataError, match="'val' has 0 rows"):
        trainer_input.read("val", [file], LAYOUT, parse_spec(), cache_max_mb=1)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.gz"
    file.write_bytes(b"\x1f\x8b\x08 this is no gzip stream" * 100)
    with pytest.raises(DataError, match="cannot be read") as caught:
        trainer_input.read("train", [str(file)], LAYOUT, parse_spec(), cache_max_mb=1)
    assert str(file) in caught.value.where


def test_a_batch_is_padded_to_its_own_longest_row(files: list[str]) -> None:
    """Not to that of the window: one long text must not widen thousands of batches."""
    batches = list(islice(trainer_input.train_batches(split(files, 0), 2, 1, 0), 25))
    widths = set()
    for features, label in batches:
        words = (label.numpy()[:, 0] - 1000) % 4  # Row i has i % 4.
        assert features["words_ids_xf"].shape[1] == max(1, words.max())
        np.testing.assert_array_equal((features["words_ids_xf"] > 0).numpy().sum(axis=1), words)
        widths.add(features["words_ids_xf"].shape[1])
    assert widths == {1, 2, 3}


def test_large_rows_make_small_windows(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in memory is bounded in bytes, not in rows alone."""
    streamed = split(files, 0)
    assert streamed.row_bytes == 4 + 4 + 3 * (8 + 4)
    monkeypatch.setattr(stream, "_WINDOW_BYTES", 16 * streamed.row_bytes)
    small = order(streamed, 0, 6)
    monkeypatch.setattr(stream, "_WINDOW_ROWS", 16)
    assert order(streamed, 0, 6) == small
