"""Pure parts of the kinds of features, on tensors in memory."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfx_pipeline.errors import DataError
from transform import categorical, image, label, numeric, raw, series, text
from transform.config import ImageFeature, LabelConfig

NAN = float("nan")


def test_sparse_ragged_and_dense_columns_look_alike() -> None:
    dense = tf.constant([[1.0], [NAN], [3.0]])
    sparse = tf.SparseTensor([[0, 0], [2, 0]], [1.0, 3.0], [3, 1])
    ragged = tf.ragged.constant([[1.0], [], [3.0]])
    empty = tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0]), [3, 0])
    for values in (dense, dense[:, 0], sparse, ragged):
        np.testing.assert_array_equal(raw.column({"x": values}, "x", tf.float32), dense)
    assert np.isnan(raw.column({"x": empty}, "x", tf.float32)).all()


def test_several_values_in_a_row_are_refused_by_name() -> None:
    sparse = tf.SparseTensor([[0, 0], [0, 1]], ["a", "b"], [1, 2])
    with pytest.raises(tf.errors.InvalidArgumentError, match="column 'tags' has several values"):
        raw.column({"tags": sparse}, "tags", tf.string)
    with pytest.raises(DataError, match="'point' has"):
        raw.column({"point": tf.zeros([5, 3])}, "point", tf.float32)
    with pytest.raises(DataError, match="no column 'y'"):
        raw.column({"x": tf.zeros([5])}, "y", tf.float32)


def test_columns_are_cast_and_stay_missing() -> None:
    texts = tf.constant([["1.5"], [" -2e1 "], [""], ["n/a"], ["1e999"]])
    np.testing.assert_array_equal(
        raw.column({"x": texts}, "x", tf.float32)[:, 0], [1.5, -20.0, NAN, NAN, NAN]
    )
    np.testing.assert_array_equal(
        raw.column({"x": texts[:3]}, "x", tf.int64)[:, 0], [2, -20, raw.MISSING_INT]
    )
    numbers = tf.constant([[7], [raw.MISSING_INT]], tf.int64)
    assert raw.column({"x": numbers}, "x", tf.string).numpy().tolist() == [[b"7"], [b""]]
    assert np.isnan(raw.column({"x": numbers}, "x", tf.float32)[1, 0])
    floats = tf.constant([[4.0], [NAN]])
    assert raw.column({"x": floats}, "x", tf.int64).numpy().tolist() == [[4], [raw.MISSING_INT]]


def test_text_to_integer_is_exact() -> None:
    texts = tf.constant([["16777217"], ["-9007199254740993"], ["1e3"], [" 7.0 "], ["2.6"]])
    got = raw.column({"x": texts}, "x", tf.int64)[:, 0].numpy().tolist()
    assert got == [16777217, -9007199254740993, 1000, 7, 3]
    far = tf.constant([["99999999999999999999"], ["-1e30"], ["12-3"]])
    got = raw.column({"x": far}, "x", tf.int64)[:, 0].numpy().tolist()
    assert got == [raw.MISSING_INT] * 3


def test_marks_become_missing_in_columns_of_every_form() -> None:
    texts = tf.constant([["a"], ["?"], ["?b"]])
    sparse = tf.SparseTensor([[0, 0], [2, 0]], ["?", "a"], [3, 1])
    inputs = {
        "dense": texts,
        "sparse": sparse,
        "ragged": tf.RaggedTensor.from_sparse(sparse),
        "float": tf.constant([-999.0, 0.5]),
        "int": tf.constant([-999, 1], tf.int64),
    }
    found = raw.without_marks(inputs, ["?", "-999", "0.5", "01"])
    assert raw.column(found, "dense", tf.string).numpy().tolist() == [[b"a"], [b""], [b"?b"]]
    for name in ("sparse", "ragged"):
        assert raw.column(found, name, tf.string).numpy().tolist() == [[b""], [b""], [b"a"]]
    assert np.isnan(found["float"]).all()
    assert found["int"].numpy().tolist() == [raw.MISSING_INT, 1]


def test_zscore_of_a_constant_is_zero_though_its_variance_is_noise() -> None:
    scaled = numeric.zscore(tf.constant([[0.1]]), tf.constant([0.10000001]), tf.constant([1e-16]))
    assert scaled.numpy().tolist() == [[0.0]]


def test_minmax_clips_what_was_not_analyzed() -> None:
    values = tf.constant([[-5.0], [5.0], [50.0], [NAN]])
    scaled = numeric.minmax(values, tf.constant([0.0]), tf.constant([10.0]))
    assert scaled.numpy()[:, 0].tolist() == [0.0, 0.5, 1.0, 0.0]


def test_a_value_at_a_boundary_is_above_it() -> None:
    one_hot = numeric.bucket_one_hot(tf.constant([[1.0], [2.0], [NAN]]), tf.constant([1.0, 2.0]))
    assert one_hot.numpy().tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_hash_ids_are_farmhash() -> None:
    # TensorFlow documents these as 0, 2, 2; a model outlives an upgrade, so they must stay.
    ids = categorical.hash_ids(tf.constant(["", "Hello", "TensorFlow", "2.x"]), 3)
    assert ids.numpy().tolist() == [0, 1, 3, 3]


@pytest.mark.parametrize(
    ("config", "column", "expected"),
    [
        ({"classes": ["no", "yes"]}, ["yes", "no", "maybe", ""], [1, 0, -1, -1]),
        ({"task": "multiclass", "classes": list("abc")}, ["c", "a", "x"], [2, 0, -1]),
        ({"above": 10.0}, [10.0, 10.5, NAN], [0, 1, -1]),
        ({"above": 0.2, "of": "fare"}, [1.0, 3.0, 3.0], [0, 1, -1]),
    ],
)
def test_label_ids(config: dict, column: list, expected: list[int]) -> None:
    inputs = {
        "y": tf.constant(column)[:, tf.newaxis],
        "fare": tf.constant([10.0, 10.0, NAN])[:, tf.newaxis],
    }
    ids = label.features(inputs, LabelConfig(column="y", **config))["label_xf"]
    assert ids.dtype == tf.int64
    assert ids.numpy()[:, 0].tolist() == expected


def test_a_request_without_the_label_has_no_label() -> None:
    assert label.features({}, LabelConfig(column="y", classes=["0", "1"])) == {}


def test_ngrams_split_at_non_words_of_any_script() -> None:
    grams = text.ngrams(tf.constant(["Ça va? ΝΑΙ_1!", "  ", "नमस्ते दुनिया"]), 2)
    rows = tf.sparse.to_dense(grams).numpy()
    found = [{gram.decode() for gram in row if gram} for row in rows]
    assert found == [
        {"ça", "va", "ναι_1", "ça va", "va ναι_1"},
        set(),
        {"नमस्ते", "दुनिया", "नमस्ते दुनिया"},
    ]


def test_counts_of_empty_rows_are_empty() -> None:
    ids = tf.SparseTensor([[1, 0], [1, 1], [1, 2]], tf.constant([4, 2, 4], tf.int64), [3, 3])
    distinct, weights = text.counts(ids, 10)
    assert distinct.indices.numpy().tolist() == [[1, 0], [1, 1]]
    assert distinct.values.numpy().tolist() == [2, 4]
    assert weights.values.numpy().tolist() == [1.0, 2.0]
    none = tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0], tf.int64), [2, 0])
    assert text.counts(none, 10)[0].dense_shape.numpy().tolist() == [2, 0]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1 2 3 4", [1, 2, 3, 4]),
        (" 1,-2.5e1 ; 3,4 ", [1, -25, 3, 4]),
        ("1\t2\n3   4 5 6", [1, 2, 3, 4]),
        ("1,,3", [1, NAN, 3, NAN]),
        ("1 one inf 4", [1, NAN, NAN, 4]),
        ("", [NAN] * 4),
    ],
)
def test_the_numbers_of_a_series(cell: str, expected: list[float]) -> None:
    found = series.numbers(tf.constant([cell, "7"]), 2, 2)
    np.testing.assert_array_equal(found[0], np.reshape(expected, (2, 2)))
    np.testing.assert_array_equal(found[1], [[7, NAN], [NAN, NAN]])


def test_ids_are_cut_and_padded() -> None:
    ids = tf.SparseTensor([[0, 0], [0, 1], [2, 0]], tf.constant([5, 6, 7], tf.int64), [3, 2])
    assert text.padded(ids, 1).numpy().tolist() == [[5], [0], [7]]
    assert text.padded(ids, 3).numpy().tolist() == [[5, 6, 0], [0, 0, 0], [7, 0, 0]]
    none = tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0], tf.int64), [2, 0])
    assert text.padded(none, 2).numpy().tolist() == [[0, 0], [0, 0]]


def test_bytes_that_are_no_image_fail_loudly() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?i)unknown image|decode"):
        image.pixels(tf.constant([b"", b"not an image"]), ImageFeature())
