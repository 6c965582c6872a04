"""`assay init` on a label with several classes a cell, and on what only looks like one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.init.tables import Init, error_of, split_sizes, table
from tfx_pipeline.init.label import profile_label
from tfx_pipeline.lint import lint


def topics(rows: int = 300) -> tuple[np.ndarray, list[list[str]]]:
    """A number, and topics that follow from it; one row in four or so has none."""
    random = np.random.default_rng(4)
    signal = random.normal(size=rows)
    has = signal[:, None] + random.normal(size=(rows, 3)) > 0.5
    names = np.array(["sport", "politics", "art & film"])
    return signal.round(4), [names[row].tolist() for row in has]


@pytest.mark.parametrize("separator", ["|", "; "])
def test_cells_of_several_names(run_init: Init, tmp_path: Path, separator: str) -> None:
    signal, has = topics()
    config = run_init(table({"x": signal, "about": [separator.join(row) for row in has]}), "about")
    label = config.data.label
    assert label.task == "multilabel"
    assert label.classes == ["art & film", "politics", "sport"]
    assert label.separator == separator.strip()
    assert [t.metric for t in config.gates.quality.thresholds] == ["macro_auc"]
    text = (tmp_path / "pipeline.yaml").read_text()
    assert "cells hold several of 3 names, between '" in text
    sports = sum("sport" in row for row in has)
    assert f"sport: {sports}" in text
    lint(config)
    assert min(split_sizes(config).values()) > 10


def test_lists_of_names(run_init: Init, tmp_path: Path) -> None:
    signal, has = topics()
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"x": signal, "about": has}), path)
    config = run_init(path, "about")
    assert config.data.label.task == "multilabel"
    assert min(split_sizes(config).values()) > 10


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        (["yes|y", "no|n"], "binary"),
        (["a|b", "a"], "binary"),
        (["animal|cat", "animal|dog", "plant|tree"], "multiclass"),  # A hierarchy.
        (["x|1", "x|2", "y|1", "y|2"], "multiclass"),  # As many parts as cells, each in its place.
        (["a", "b", "c"], "multiclass"),
        (["1;5", "2;5", "1", "2"], "multilabel"),
        (["a|b", "b|c", "c|a"], "multilabel"),
    ],
)
def test_what_only_looks_like_several(cells: list[str], task: str) -> None:
    column = pa.array(cells * 10, pa.large_string())
    assert profile_label("y", column).task == task


def test_the_profile_says_which_row_has_which() -> None:
    column = pa.array(["b|a", None, "a", "b | a", "b"], pa.large_string())
    found = profile_label("y", column)
    assert found.classes == ["a", "b"]
    assert found.targets.tolist() == [[1, 1], [0, 0], [1, 0], [1, 1], [0, 1]]
    assert found.counts == {"a": 3, "b": 3}
    assert found.ids.tolist() == [3, 0, 2, 3, 1]
    assert "1 rows have none" in found.why


def test_a_range_is_mentioned_and_never_guessed(run_init: Init, tmp_path: Path) -> None:
    signal, _ = topics()
    value = 3 * signal + np.random.default_rng(5).normal(size=len(signal))
    config = run_init(table({"x": signal, "y": value.round(2)}), "y")
    assert config.data.label.task == "regression"
    assert "set `task: quantile`" in (tmp_path / "pipeline.yaml").read_text()


def test_lists_of_too_many_names_are_told(tmp_path: Path) -> None:
    """As texts they would be classes such as `n0|n1`, which ingest refuses."""
    path = tmp_path / "rows.parquet"
    lists = [[f"n{i % 60}", f"n{(i + 1) % 60}"] for i in range(300)]
    parquet.write_table(pa.table({"x": list(range(300)), "y": lists}), path)
    error = error_of("--data", str(path), "--label", "y", "-o", str(tmp_path / "p.yaml"))
    assert "'y' has several values in a row, of more than 50 names" in str(error)
    assert "task: multilabel" in error.hint


def test_only_blanks_of_ascii_are_dropped() -> None:
    """As ingest and the transform graph drop them."""
    column = pa.array(["a|\u00a0b", "a | c", "c"] * 10, pa.large_string())
    assert profile_label("y", column).classes == ["a", "c", "\u00a0b"]


def test_a_label_of_ragged_texts_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    lists = [[f"name {i}", f"name {i + 1}"] for i in range(300)]
    parquet.write_table(pa.table({"x": list(range(300)), "y": lists}), path)
    error = error_of("--data", str(path), "--label", "y", "-o", str(tmp_path / "p.yaml"))
    assert "300 different texts" in str(error)
