"""Labels of many classes: ids by hash, classes from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from transform.config import LabelConfig
from transform.label import class_ids


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
