"""What Transform wrote is found again among rows that went through its graph."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gates.serving.conftest import SPLITS, World
from tfx_pipeline.gates.serving import materialized
from tfx_pipeline.gates.serving.materialized import (
    Features,
    check,
    first_difference,
    through_graph,
)
from tfx_pipeline.gates.serving.rows import sample

pytestmark = pytest.mark.slow
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Written:
    split: Path
    output: Any
    layout: Any
    computed: Features


@pytest.fixture(scope="module")
def written(world: World) -> Written:
    import tensorflow_transform as tft

    from transform.layout import layout

    output = tft.TFTransformOutput(world.transformed.graph)
    specs = layout(world.transformed.config, output)
    rows, _ = sample(world.raw / "Split-val", SPLITS["val"])
    # In another order than they were written, for no order may be relied on.
    computed = through_graph(output, specs, rows[::-1])
    return Written(world.transformed.folder / "Split-val", output, specs, computed)


def _check(written: Written, computed: Features) -> Any:
    return check(written.split, written.output, written.layout, computed, TOLERANCE)


def test_every_kind_of_feature_is_found_again(written: Written) -> None:
    assert {spec.kind for spec in written.layout} == {"dense", "ids", "bag"}
    assert _check(written, written.computed) is None


def test_batches_of_any_size_find_the_same(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    width = sum(v[0].size for v in written.computed.values())
    monkeypatch.setattr(materialized, "_NUMBERS", 7 * width)
    monkeypatch.setattr(materialized, "_COMPARED", 50 * width)
    assert _check(written, written.computed) is None
    values = written.computed["size_xf"].copy()
    values[[40, 60, 80]] += 100
    difference = _check(written, {**written.computed, "size_xf": values})
    assert (difference.feature, difference.row) == ("size_xf", 40)


def test_last_bits_do_not_matter(written: Written) -> None:
    near = {
        name: values * np.float32(1 + 3e-6) if values.dtype == np.float32 else values
        for name, values in written.computed.items()
    }
    assert _check(written, near) is None


@pytest.mark.parametrize("feature", ["size_xf", "my shop_xf", "review_ids_xf", "label_xf"])
def test_one_row_that_differs_is_named(written: Written, feature: str) -> None:
    values = written.computed[feature].copy()
    row = 11
    place = (row, *[0] * (values.ndim - 1))
    values[place] += 100
    difference = _check(written, {**written.computed, feature: values})
    assert difference is not None
    assert (difference.feature, difference.row) == (feature, row)
    assert difference.found - difference.expected == pytest.approx(
        100, abs=5
    )  # beside the most similar row


def test_a_row_more_often_than_written_may_be_repeated(written: Written) -> None:
    twice = {name: np.concatenate([v, v[:3]]) for name, v in written.computed.items()}
    assert _check(written, twice) is None  # another row with the same values is no skew


def test_no_written_row_at_all_is_a_difference(written: Written, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    difference = check(
        tmp_path / "empty", written.output, written.layout, written.computed, TOLERANCE
    )
    assert difference is not None
    assert difference.size == np.inf


def test_first_difference_is_in_the_models_order() -> None:
    expected = {"b": np.ones((3, 2)), "a": np.zeros((3, 1)), "unsent": np.zeros((3, 1))}
    found = {"a": np.array([[0.0], [0.5], [0.0]]), "b": np.array([[1, 1], [1, np.nan], [1, 1.3]])}
    difference = first_difference(expected, found, 0.1)
    assert difference is not None
    assert (difference.feature, difference.row, difference.size) == ("b", 1, np.inf)
    assert first_difference({"a": expected["a"]}, found, 0.5) is None
    longer = np.pad(expected["b"], ((0, 0), (0, 2)))  # as a bag of another batch
    assert first_difference({"b": expected["b"]}, {"b": longer}, 0.0) is None


def test_large_rows_are_compared_a_few_at_a_time() -> None:
    """100 images of 64 x 64 x 3 as float64 are 98 MB, and a comparison makes several of them."""
    images = np.zeros((100, 64, 64, 3), np.float32)
    other = images.copy()
    other[93, 5, 6, 1] = 0.5
    other[94, 0, 0, 0] = 0.25
    tracemalloc.start()
    try:
        difference = first_difference({"image": images}, {"image": other}, TOLERANCE)
        assert tracemalloc.get_traced_memory()[1] < 80e6
    finally:
        tracemalloc.stop()
    assert difference is not None
    assert (difference.row, difference.expected, difference.found) == (93, 0.0, 0.5)
