"""Metrics of resamples are the quality gate's own metrics on the rows that were drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfx_pipeline.gates import measures
from tfx_pipeline.gates.metrics import metrics_of
from tfx_pipeline.gates.serving.quality import estimate
from tfx_pipeline.gates.serving.resampled import draws, resampled
from tfx_pipeline.gates.serving.rows import HeldOut
from transform.label_config import Task

LEVELS = [0.1, 0.5, 0.9]


def _data(task: Task, rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    score = random.normal(size=rows)
    if task == "binary":
        labels = (random.random(rows) < 1 / (1 + np.exp(-2 * score))).astype(float)
        return labels, np.round(1 / (1 + np.exp(-score)), 2)  # with ties
    if task == "multiclass":
        weights = random.random((rows, 4))
        return random.integers(0, 4, rows).astype(float), weights / weights.sum(1, keepdims=True)
    if task == "multilabel":
        guesses = np.round(random.random((rows, 3)), 2)
        classes = random.random((rows, 3)) < guesses * [1.0, 0.5, 0.005]  # the last is hardly there
        return classes.astype(float), guesses
    if task == "quantile":
        middle = score + random.normal(size=rows)
        return np.round(score, 1), np.round(middle[:, None] + [-1.0, 0.0, 1.5], 1)
    return 1e6 + score, 1e6 + score + random.normal(size=rows)


def _held(labels: np.ndarray, **slices: np.ndarray) -> HeldOut:
    return HeldOut([b""] * len(labels), labels, slices, len(labels))


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression", "quantile"])
def test_each_resample_is_measured_as_the_quality_gate_would(task: Task) -> None:
    labels, predictions = _data(task)
    drawn = draws(len(labels), 40, seed=1)
    assert (drawn.sum(axis=1) == len(labels)).all()
    found = resampled(task, labels, predictions, drawn, LEVELS)
    assert set(found) == set(metrics_of(task))
    for number in (0, 17, 39):
        rows = np.repeat(np.arange(len(labels)), drawn[number].astype(int))
        some = predictions[rows].reshape(len(rows), -1)
        expected = measures.measure(task, labels[rows], some, LEVELS)
        for name, values in found.items():
            assert values[number] == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize("task", ["multilabel", "quantile"])
def test_several_answers_a_row_have_intervals(task: Task) -> None:
    labels, predictions = _data(task)
    part = np.arange(0, 500, 5)
    answers = {"float": predictions, "int8": predictions + 0.01}
    quality, differences = estimate(
        task, _held(labels, part=part), answers, ("float",), resamples=50, seed=1, levels=LEVELS
    )
    expected = measures.measure(task, labels[part], predictions[part], LEVELS)
    for name, found in quality["float"]["part"].items():
        assert found.value == pytest.approx(expected[name])
        assert found.low <= found.value <= found.high
    assert set(differences["int8", "float"]["overall"]) == set(metrics_of(task))


def test_the_interval_of_accuracy_is_as_wide_as_theory_says() -> None:
    labels, predictions = _data("binary", 2000)
    quality, _ = estimate("binary", _held(labels), {"m": predictions}, (), resamples=1000, seed=1)
    accuracy = quality["m"]["overall"]["accuracy"]
    p = accuracy.value
    expected = 2 * 1.96 * math.sqrt(p * (1 - p) / 2000)
    assert accuracy.high - accuracy.low == pytest.approx(expected, rel=0.12)
    assert accuracy.low < p < accuracy.high


def test_differences_are_paired() -> None:
    labels, predictions = _data("binary", 2000)
    other = np.clip(predictions + 0.002, 0, 1)
    _, differences = estimate(
        "binary",
        _held(labels),
        {"float": predictions, "same": predictions, "near": other},
        ("float", "champion"),
        resamples=200,
        seed=1,
    )
    assert set(differences) == {("same", "float"), ("near", "float")}
    same = differences["same", "float"]["overall"]["auc"]
    assert (same.value, same.low, same.high) == (0, 0, 0)
    near = differences["near", "float"]["overall"]["log_loss"]
    # Unpaired it would be as wide as the interval of log loss itself, about 0.04.
    assert 0 < near.high - near.low < 0.004
    assert near.low <= near.value <= near.high


def test_slices_are_measured_by_themselves() -> None:
    labels, predictions = _data("binary")
    part = np.arange(0, 500, 5)
    quality, _ = estimate(
        "binary", _held(labels, part=part), {"m": predictions}, (), resamples=50, seed=1
    )
    expected = measures.measure("binary", labels[part], predictions[part][:, None])
    for name, found in quality["m"]["part"].items():
        assert found.value == expected[name]
        assert found.rows == 100


def test_what_the_rows_cannot_tell_is_no_number() -> None:
    labels, predictions = _data("binary")
    rows = _held(labels, negatives=np.flatnonzero(labels == 0), one=np.array([0]))
    broken = np.where(np.arange(500) == 7, np.nan, predictions)
    quality, _ = estimate(
        "binary", rows, {"m": predictions, "nan": broken}, (), resamples=50, seed=1
    )
    auc = quality["m"]["negatives"]["auc"]
    assert math.isnan(auc.value)
    assert math.isnan(auc.low)
    assert quality["m"]["one"]["log_loss"].rows == 1
    assert all(math.isnan(e.value) for e in quality["nan"]["overall"].values())
