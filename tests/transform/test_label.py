"""Labels: many classes by hash or from a file, several a row, quantiles; what a config refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from transform.config import LabelConfig
from transform.label import class_ids, features, memberships


def test_ids_of_thousands_of_classes_are_their_positions() -> None:
    import tensorflow as tf

    classes = [f"item {i}" for i in np.random.default_rng(0).permutation(5000)]
    values = np.array([*classes[::-1], "", "item 5000", "item"])[:, None]
    expected = [*range(4999, -1, -1), -1, -1, -1]
    assert class_ids(tf.constant(values), classes).numpy()[:, 0].tolist() == expected
    traced = tf.function(lambda value: class_ids(value, classes))
    assert traced(tf.constant(values)).numpy()[:, 0].tolist() == expected
    assert class_ids(tf.constant([["b"], ["x"]]), ["a", "b"]).numpy().tolist() == [[1], [-1]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("films.csv", "film,genre\nf1,action\nf2,drama\n"),
        ("films.csv", "genre,film\naction,f1\ndrama,f2\n"),
        ("films.csv", "id,genre\nf1,action\nf2,drama\n"),
        ("films.txt", "f1\n\nf2\n"),
    ],
)
def test_classes_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    given = {"column": "film", "task": "multiclass", "classes_file": name, "top_k": 2}
    label = LabelConfig.model_validate(given, context={"folder": tmp_path})
    assert label.classes == ["f1", "f2"]
    # A node gets the classes, and may have no such file.
    assert LabelConfig.model_validate(label.model_dump()) == label


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("film\n", "it has no rows"),
        ("film\nf1\nf1\n", "'f1' twice"),
        ("film,genre\nf1\n", "line 2 has not 2 columns"),
        (b"film\n\xff\xff\n", "not UTF-8"),
    ],
)
def test_a_bad_file_of_classes_is_named(
    tmp_path: Path, text: str | bytes | None, said: str
) -> None:
    if text is not None:
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "films.csv").write_bytes(content)
    given = {"column": "film", "task": "multiclass", "classes_file": "films.csv"}
    with pytest.raises(ValidationError, match=said):
        LabelConfig.model_validate(given, context={"folder": tmp_path})


def test_more_top_ids_than_classes() -> None:
    with pytest.raises(ValidationError, match="more than the 2 classes"):
        LabelConfig(column="y", task="multiclass", classes=["a", "b"], top_k=3)
    with pytest.raises(ValidationError, match="task: multiclass"):
        LabelConfig(column="y", classes=["a", "b"], top_k=1)


TOPICS = ["sport", "politics", "film & art"]


@pytest.mark.parametrize("form", ["dense", "flat", "sparse", "ragged"])
def test_a_cell_has_any_number_of_classes(form: str) -> None:
    import tensorflow as tf

    cells = ["politics|sport", "", " film & art |sport|", "unheard of|sport", "|| ", "sport|sport"]
    expected = [[1, 1, 0], [0, 0, 0], [1, 0, 1], [1, 0, 0], [0, 0, 0], [1, 0, 0]]
    given: Any = tf.constant(cells)
    if form != "flat":
        given = given[:, tf.newaxis]
    if form == "sparse":
        given = tf.sparse.from_dense(given)  # Without the empty one.
    elif form == "ragged":
        given = tf.RaggedTensor.from_tensor(given)
    label = LabelConfig(column="y", task="multilabel", classes=TOPICS)
    traced = tf.function(lambda values: features({"y": values}, label)["label_xf"])
    got = traced(given)
    assert got.dtype == tf.int64
    assert got.numpy().tolist() == expected
    assert traced.get_concrete_function(given).outputs[0].shape[1] == 3


def test_classes_of_several_values_a_row() -> None:
    import tensorflow as tf

    lists = tf.ragged.constant([["b", "c"], [], ["a"], ["c", "x", "c"]])
    expected = [[0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert memberships(lists, ["a", "b", "c"], "|").numpy().tolist() == expected
    dense = tf.constant([["b", "c"], ["a", ""]])
    assert memberships(dense, ["a", "b", "c"], "|").numpy().tolist() == [[0, 1, 1], [1, 0, 0]]
    assert memberships(dense[:0], ["a", "b", "c"], "|").shape == (0, 3)
    wide = tf.constant([["a -> b"], ["a"]])
    assert memberships(wide, ["a", "b"], "->").numpy().tolist() == [[1, 1], [1, 0]]
    ids = tf.constant([[1], [12]], tf.int64)
    assert memberships(ids, ["1", "2"], "|").numpy().tolist() == [[1, 0], [0, 0]]
    many = [f"item {i}" for i in range(5000)]
    found = memberships(tf.constant([["item 4999|item 7"]]), many, "|").numpy()
    assert found.nonzero()[1].tolist() == [7, 4999]


def test_the_columns_of_label_and_predictions() -> None:
    def of(**label: Any) -> tuple[int, int, bool, bool]:
        found = LabelConfig(column="y", **label)
        return found.width, found.outputs, found.is_number, found.has_classes

    assert of(classes=["a", "b"]) == (1, 1, False, True)
    assert of(above=2.0) == (1, 1, True, True)
    assert of(task="multiclass", classes=TOPICS) == (1, 3, False, True)
    assert of(task="multilabel", classes=TOPICS) == (3, 3, False, True)
    assert of(task="regression") == (1, 1, True, False)
    assert of(task="quantile") == (1, 3, True, False)
    assert of(task="quantile", quantiles=[0.5]) == (1, 1, True, False)
    label = LabelConfig(column="y", task="multilabel", classes=TOPICS, separator="; ", top_k=2)
    assert LabelConfig.model_validate(label.model_dump()) == label


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task": "multilabel", "classes": ["a"]}, "a multilabel label needs its `classes`"),
        ({"task": "multilabel", "classes": ["a", "b "]}, "'b ' could be no part of a cell"),
        ({"task": "multilabel", "classes": ["a", "b|c"]}, "'|' is in the class 'b|c'"),
        ({"task": "multilabel", "classes": ["a", "b"], "separator": ""}, "at least 1 character"),
        ({"task": "multilabel", "classes": ["a", "b"], "above": 1.0}, "makes a binary label"),
        ({"task": "multiclass", "classes": ["a", "b"], "separator": ";"}, "task: multilabel"),
        ({"task": "regression", "quantiles": [0.5]}, "task: quantile"),
        ({"task": "quantile", "classes": ["a", "b"]}, "a quantile label has no classes"),
        ({"task": "quantile", "quantiles": [0.5, 0.5]}, "do not increase"),
        ({"task": "quantile", "quantiles": [0.9, 0.1]}, "do not increase"),
        ({"task": "quantile", "quantiles": [0.5, 1.0]}, "less than 1"),
        ({"task": "quantile", "quantiles": []}, "at least 1 item"),
        ({"task": "quantile", "quantiles": [i / 100 for i in range(1, 53)]}, "at most 50"),
        ({"task": "quantile", "top_k": 2}, "task: multiclass"),
    ],
)
def test_what_a_label_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        LabelConfig.model_validate({"column": "y", **given})
    assert said in str(caught.value)
