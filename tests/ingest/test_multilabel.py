"""Labels with several classes a row: what is counted, and every mistake in them."""

from __future__ import annotations

import logging
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.ingest.conftest import Write, error_of, make_source, read_source
from tfx_pipeline.ingest.multilabel import memberships
from transform.config import LabelConfig

LABEL = {"column": "y", "task": "multilabel", "classes": ["a", "b", "c"]}
SPLIT = {"method": "column", "column": "part", "val_fraction": 0.0}


def csv(*cells: str, parts: str = "te") -> str:
    """Rows with these labels, in turn of train and eval."""
    names = {"t": "train", "e": "eval"}
    rows = [f"{i},{cell},{names[parts[i % len(parts)]]}" for i, cell in enumerate(cells)]
    return "\n".join(["x,y,part", *rows, ""])


def test_a_row_has_any_number_of_classes(write: Write) -> None:
    path = write(csv("a|b", "b", "", "a | c", "c", "a|a"))
    rows = read_source(make_source(path, label=LABEL, split=SPLIT))
    assert rows["y"] == [[b"a|b"], [b"b"], [], [b"a | c"], [b"c"], [b"a|a"]]


def test_lists_are_classes_too(tmp_path: Any) -> None:
    path = str(tmp_path / "rows.parquet")
    lists = [["a", "b"], ["c"], [], None, ["b"], ["a", "b", "c"]]
    table = {"x": [1.0] * 6, "y": lists, "part": ["train", "eval"] * 3}
    parquet.write_table(pa.table(table), path)
    rows = read_source(make_source(path, label=LABEL, split=SPLIT))
    assert rows["y"][0] == [b"a", b"b"]
    assert rows["y"][3] == []


def test_pairs_of_rows_and_classes() -> None:
    cells = pa.array([[b"b;a"], [], [b"x;c"], [b"c", b"b ;x"]], pa.large_list(pa.large_binary()))
    label = LabelConfig.model_validate({**LABEL, "separator": ";"})
    found = memberships(cells, label)
    pairs = list(zip(found.rows.tolist(), found.classes.tolist(), strict=True))
    assert pairs == [(0, 1), (0, 0), (2, 2), (3, 2), (3, 1)]
    (fault,) = found.faults
    assert (fault.row, fault.value, fault.count) == (2, "x", 2)


def test_an_unknown_class_names_line_and_cell(write: Write) -> None:
    path = write(csv("a|b", "b", "a|sprot", "c|d", "sprot"))
    text = error_of(path, label=LABEL, split=SPLIT)
    assert "line 4, column 'y'" in text
    assert "'sprot' is none of the label's classes (3 such values)" in text
    assert "Add 'sprot' and 'd' there" in text
    # Another separator than the data have: the whole cell is no class.
    text = error_of(path, label={**LABEL, "separator": ";"}, split=SPLIT)
    assert "'a|b' is none of the label's classes" in text
    assert "told apart by ';'" in text


def test_rows_with_an_unknown_class_may_be_left_out(write: Write) -> None:
    path = write(csv("a|b", "b", "a|sprot", "c", "b", "sprot"))
    rows = read_source(make_source(path, label=LABEL, split=SPLIT, max_bad_rows=2))
    assert rows["y"] == [[b"a|b"], [b"b"], [b"c"], [b"b"]]
    assert rows["x"] == [[0.0], [1.0], [3.0], [4.0]]


QUANTILE = {"column": "y", "task": "quantile"}


@pytest.mark.parametrize(
    ("label", "cells", "says"),
    [
        (LABEL, ["a|b", "b|a", "a|b", "a|b"], "the label is 'a|b' in all 4 rows"),
        (LABEL, ["", "", "", " "], "the label has no class in all 4 rows"),
        (LABEL, ["a", "b", "", "b"], "in all 2 rows of the split 'eval', or in none"),
        (QUANTILE, ["1", "2", "", "4"], "the label is missing"),
        (QUANTILE, ["1", "2", "three", "4"], "'three' is not a number"),
        (QUANTILE, ["7", "7", "7", "7"], "the label is 7.0 in all 4 rows"),
    ],
)
def test_labels_that_are_none_or_never_vary(
    write: Write, label: dict[str, Any], cells: list[str], says: str
) -> None:
    assert says in error_of(write(csv(*cells)), label=label, split=SPLIT)


def test_a_class_that_cannot_be_learned_is_told(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(csv("a|b", "a", "b", "b"))
    with caplog.at_level(logging.WARNING, "tfx_pipeline.ingest.checks"):
        read_source(make_source(path, label=LABEL, split=SPLIT))
    first, second = caplog.messages
    assert "2 of 3 classes are in all rows of the split 'train', or in none ('b', 'c')" in first
    assert "cannot be learned" in first
    assert "1 of 3 classes are in all rows of the split 'eval', or in none ('c')" in second


def test_a_quantile_label_is_a_number(write: Write) -> None:
    rows = read_source(make_source(write(csv("1", "2", "1", "2")), label=QUANTILE, split=SPLIT))
    assert rows["y"] == [[1.0], [2.0], [1.0], [2.0]]
