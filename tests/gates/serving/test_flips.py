"""Which rows a candidate answers differently."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_pipeline.gates.serving.flips import TOP, Flip, Flips, flips
from tfx_pipeline.gates.serving.measured import Measured
from transform.label_config import Task

NAN = math.nan


def compared(before: object, after: object, task: Task = "binary", labels: Any = None) -> Flips:
    found = (Measured(n, predictions=p) for n, p in (("float", before), ("int8", after)))  # type: ignore[arg-type]
    return flips(*found, task, labels)


def rows(found: Flips) -> list[int]:
    return [flip.row for flip in found.top]


def test_a_binary_row_flips_where_its_class_does() -> None:
    before, after = [0.4, 0.49, 0.6, 0.9, 0.5], [0.45, 0.51, 0.1, 0.6, 0.5]
    found = compared(before, after, labels=[0, 1, 1, 0, 0])
    assert (found.count, found.rows) == (2, 5)
    first, second = found.top  # the largest difference first
    assert first == Flip(2, 0.6, 0.1, pytest.approx(-0.5), 1)
    assert second == Flip(1, 0.49, 0.51, pytest.approx(0.02), 1)


def test_a_multiclass_row_shows_its_classes() -> None:
    before = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]
    after = [[0.6, 0.3, 0.1], [0.1, 0.3, 0.6], [0.4, 0.3, 0.3]]
    found = compared(before, after, "multiclass")
    assert found.count == 2
    assert found.top[0] == Flip(1, 1, 2, pytest.approx(-0.5), None)
    assert rows(found) == [1, 2]


def test_a_regression_row_changes_beyond_the_last_digits() -> None:
    before = np.array([10.0, 20, 30, 40])
    found = compared(
        before.tolist(), (before + np.array([1e-6, 0.5, -3, 0.1])).tolist(), "regression"
    )
    assert rows(found) == [2, 1]
    assert compared([5.0, 5.0], [5.0, 5.1], "regression").count == 1


def test_a_multilabel_row_flips_where_a_class_does() -> None:
    before = [[0.9, 0.4, 0.2], [0.6, 0.49, 0.1], [0.1, 0.1, 0.1]]
    after = [[0.6, 0.3, 0.2], [0.4, 0.95, 0.1], [0.1, NAN, 0.1]]
    found = compared(before, after, "multilabel", [[1, 0, 0], [1, 0, 0], [0, 1, 0]])
    assert (found.count, found.rows) == (2, 3)
    unknown, flipped = found.top
    assert (unknown.row, unknown.output, unknown.label) == (2, 1, 1)
    # Both of its classes changed; the second did most, and is not true.
    assert flipped == Flip(1, 0.49, 0.95, pytest.approx(0.46), 0, 1)


def test_a_quantile_row_flips_where_one_of_them_moves() -> None:
    before = np.array([[10.0, 20, 30], [20, 30, 40], [30, 40, 90]])
    after = before + np.array([[0, 0.001, 0], [0, 0.2, -5], [1e-3, 0, 0.2]])
    found = compared(before, after, "quantile", [15.0, 35, 60])
    # The third row's move is less than 1 % of the spread of the upper quantile, 26.
    assert found.top == [Flip(1, 40, 35, -5, 35, 2)]
    assert rows(compared([5.0, 6.0], [5.0, 7.0], "quantile")) == [1]  # of one quantile


@pytest.mark.parametrize(
    ("task", "before", "after"),
    [
        ("binary", [0.1, 0.2, 0.9], [0.1, NAN, 0.1]),
        ("binary", [0.1, NAN, 0.9], [0.1, 0.2, 0.1]),
        ("regression", [1.0, 2.0, 90.0], [1.0, math.inf, -9.0]),
        ("multiclass", [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]], [[0.9, 0.1], [0.9, NAN], [0.1, 0.9]]),
    ],
)
def test_what_is_no_number_has_changed_and_comes_first(
    task: Task, before: object, after: object
) -> None:
    found = compared(before, after, task)
    assert rows(found) == [1, 2]
    assert math.isnan(found.top[0].difference)


def test_ten_at_most_are_shown_and_all_are_counted() -> None:
    after = np.linspace(0.6, 0.9, 25)
    found = compared([0.4] * 25, after.tolist())
    assert (found.count, len(found.top)) == (25, TOP)
    assert rows(found) == list(range(24, 14, -1))


@pytest.mark.parametrize(
    ("task", "before", "after", "labels"),
    [
        ("binary", [0.1, 0.2], [0.1], None),
        ("binary", [0.1, 0.2], [], None),
        ("binary", [[0.1, 0.9]], [[0.1, 0.9]], None),
        ("multiclass", [0.1, 0.2], [0.1, 0.2], None),
        ("multiclass", [[0.1, 0.9]], [[0.1, 0.2, 0.7]], None),
        ("binary", [0.1, 0.2], [0.1, 0.2], [1.0]),
        ("multilabel", [0.1, 0.2], [0.1, 0.2], None),
        ("quantile", [[1.0, 2.0]], [[1.0, 2.0, 3.0]], None),
    ],
)
def test_answers_that_cannot_be_compared(
    task: Task, before: object, after: object, labels: list[float] | None
) -> None:
    with pytest.raises(ValueError):
        compared(before, after, task, labels)


def test_no_rows_have_no_flips() -> None:
    assert compared([], [], "multiclass") == Flips()


PROBABILITY = st.floats(0, 1)


@given(st.lists(st.tuples(PROBABILITY, PROBABILITY), min_size=1, max_size=30))
def test_as_one_would_count_them(pairs: list[tuple[float, float]]) -> None:
    before, after = zip(*pairs, strict=True)
    found = compared(list(before), list(after))
    expected = [row for row, (b, a) in enumerate(pairs) if (b > 0.5) != (a > 0.5)]
    assert found.count == len(expected)
    assert set(rows(found)) <= set(expected)
    sizes = [abs(flip.difference) for flip in found.top]
    assert sizes == sorted(sizes, reverse=True)
