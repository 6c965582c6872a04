"""`assay check` on a recommender: its label, its loss and its items, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint.test_lint import config
from tfx_pipeline.errors import AssayError
from tfx_pipeline.lint import OF_THE_DATA, lint

FILMS = """\
name: films
data:
  path: data.csv
  label: {column: film, task: multiclass, classes_file: films.csv, top_k: 2}
features:
  columns: {age: {kind: numeric}}
model:
  family: two_tower
  two_tower: {items: films.csv}
train: {steps: 10}
gates:
  quality: {thresholds: [{metric: accuracy, min: 0.3}]}
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("", "", None),
        ("metric: accuracy", "metric: recall_at_10", "each is among the ten: it is always 1"),
        ("steps: 10", "mixup: 0.2", "train.mixup does not go with model.family: two_tower"),
        ("items: films.csv", "items: other.csv", "cannot be read"),
        ("items: films.csv", "items: few.csv", "1 of 3 items have no row, among them 'f3'"),
        (
            "task: multiclass, classes_file: films.csv, top_k: 2",
            "classes: [f1, f2]",
            "model.family: two_tower learns which item",
        ),
    ],
)
def test_a_recommender(tmp_path: Path, old: str, new: str, says: str | None) -> None:
    (tmp_path / "films.csv").write_text("film,genre\nf1,a\nf2,b\nf3,a\n")
    (tmp_path / "few.csv").write_text("film,genre\nf1,a\nf2,b\n")
    found = config(tmp_path, FILMS.replace(old, new) if old else FILMS)
    if says is None:
        lint(found, without=OF_THE_DATA)
        return
    with pytest.raises(AssayError, match=says):
        lint(found, without=OF_THE_DATA)
