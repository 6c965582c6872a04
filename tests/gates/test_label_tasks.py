"""Measures of multilabel and quantile models, against scikit-learn, numpy, and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from tfx_pipeline.config.gates import QualityGateConfig
from tfx_pipeline.gates.measures import MEASURES, measure, summarise
from tfx_pipeline.gates.metrics import metrics_of
from tfx_pipeline.gates.quality import judge
from trainer.measures.multilabel import bucket_count
from trainer.measures.quantiles import middle

LEVELS = [0.1, 0.5, 0.9]


def multilabel(rows: int = 600, classes: int = 5) -> tuple[Any, Any]:
    """Random rows with ties; the last class is in none of them, and nothing predicts it."""
    generator = np.random.default_rng(classes)
    labels = generator.random((rows, classes)) < np.linspace(0.6, 0.1, classes)
    odds = generator.normal(3.0 * labels - 1.5, 1.5)
    predictions = np.round(1 / (1 + np.exp(-odds)), 2)  # 0.5 among them, which is a no
    labels[:, -1] = False
    predictions[:, -1] = np.minimum(predictions[:, -1], 0.5)
    return labels.astype(int), predictions


def quantile(rows: int = 600, levels: list[float] = LEVELS) -> tuple[Any, Any]:
    generator = np.random.default_rng(7)
    x = generator.normal(size=rows)
    labels = np.round(10 * x + 5 * generator.normal(size=rows))  # with ties
    guesses = 10 * x[:, None] + 5 * np.array([-1.0, 0.2, 1.5])[None, : len(levels)]
    return labels, np.round(np.sort(guesses, axis=1))


def test_multilabel_measures_agree_with_scikit_learn() -> None:
    labels, predictions = multilabel()
    got = measure("multilabel", labels, predictions)
    decided = predictions > 0.5
    known, shown = labels[:, :-1], predictions[:, :-1]
    assert got["macro_auc"] == pytest.approx(
        reference.roc_auc_score(known, shown, average="macro"), abs=1e-9
    )
    macro = reference.f1_score(labels, decided, average="macro", zero_division=np.nan)
    assert got["macro_f1"] == pytest.approx(macro)
    assert got["micro_f1"] == pytest.approx(reference.f1_score(labels, decided, average="micro"))
    assert got["subset_accuracy"] == pytest.approx(reference.accuracy_score(labels, decided))
    assert got["hamming_loss"] == pytest.approx(reference.hamming_loss(labels, decided))
    losses = [
        reference.log_loss(labels[:, c], np.clip(predictions[:, c], 1e-7, 1 - 1e-7), labels=[0, 1])
        for c in range(labels.shape[1])
    ]
    assert got["log_loss"] == pytest.approx(np.mean(losses))
    assert got["example_count"] == 600


def test_multilabel_measures_of_a_known_case() -> None:
    labels = [[1, 0, 0], [1, 1, 0]]
    predictions = [[0.9, 0.6, 0.1], [0.2, 0.7, 0.1]]
    got = measure("multilabel", labels, predictions)
    assert got["macro_auc"] == 1  # of the second class alone: the others are in all or in none
    # First class: one of two found, none wrong, 2/3. Second: one of one found, one wrong, 2/3.
    assert got["macro_f1"] == pytest.approx(2 / 3)
    assert got["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert got["subset_accuracy"] == 0
    assert got["hamming_loss"] == pytest.approx(2 / 6)
    chances = [0.9, 0.4, 0.9, 0.2, 0.7, 0.9]
    assert got["log_loss"] == pytest.approx(-np.log(chances).mean())


def test_the_histograms_of_many_classes_are_coarser_and_near() -> None:
    labels, predictions = multilabel(400, 300)
    assert bucket_count(300) < bucket_count(5) == bucket_count(1)
    got = measure("multilabel", labels, predictions)["macro_auc"]
    exact = reference.roc_auc_score(labels[:, :-1], predictions[:, :-1], average="macro")
    assert got == pytest.approx(exact, abs=2e-4)


def test_one_row_of_each() -> None:
    got = measure("multilabel", [[1, 0]], [[0.8, 0.4]])
    assert math.isnan(got["macro_auc"])
    assert got["subset_accuracy"] == got["micro_f1"] == got["macro_f1"] == 1
    got = measure("quantile", [3.0], [[1.0, 2.0, 4.0]], LEVELS)
    assert got["mae"] == 1
    assert got["pinball_loss"] == pytest.approx((0.1 * 2 + 0.5 * 1 + 0.1 * 1) / 3)
    assert got["quantile_error"] == pytest.approx(0.5)  # 0, 0 and 1 of one row, for 0.1, 0.5, 0.9
    assert got["interval_coverage_error"] == pytest.approx(0.2)


def test_quantile_measures_agree_with_scikit_learn_and_numpy() -> None:
    labels, predictions = quantile()
    got = measure("quantile", labels, predictions, LEVELS)
    losses = [
        reference.mean_pinball_loss(labels, predictions[:, place], alpha=level)
        for place, level in enumerate(LEVELS)
    ]
    assert got["pinball_loss"] == pytest.approx(np.mean(losses))
    assert got["mae"] == pytest.approx(reference.mean_absolute_error(labels, predictions[:, 1]))
    shares = [np.mean(labels <= predictions[:, place]) for place in range(3)]
    assert got["quantile_error"] == pytest.approx(max(np.abs(np.array(shares) - LEVELS)))
    inside = (predictions[:, 0] <= labels) & (labels <= predictions[:, 2])
    assert got["interval_coverage_error"] == pytest.approx(abs(inside.mean() - 0.8))
    # Ties count as below on both ends: then the interval has more than its quantiles' difference.
    assert inside.mean() > shares[2] - shares[0]


def test_right_quantiles_have_no_error() -> None:
    labels = np.arange(1, 1001)
    predictions = np.tile([100.0, 500.0, 900.0], (1000, 1))
    got = measure("quantile", labels, predictions, LEVELS)
    assert got["quantile_error"] == pytest.approx(0)
    assert got["interval_coverage_error"] == pytest.approx(0.001)  # 100 to 900, both included


def test_one_quantile_bounds_no_interval() -> None:
    labels, predictions = quantile(levels=[0.9])
    got = measure("quantile", labels, predictions, [0.9])
    assert set(got) == {"pinball_loss", "quantile_error", "mae", "example_count"}
    assert set(metrics_of("quantile", [0.9])) == set(got) - {"example_count"}


@pytest.mark.parametrize(
    ("levels", "place"), [(LEVELS, 1), ([0.9], 0), ([0.3, 0.7], 0), ([0.05, 0.2, 0.6, 0.9], 2)]
)
def test_the_middle_is_the_quantile_nearest_a_half(levels: list[float], place: int) -> None:
    assert middle(levels) == place


@pytest.mark.parametrize("task", ["multilabel", "quantile"])
def test_pieces_add_up_to_the_whole(task: Any) -> None:
    labels, predictions = multilabel() if task == "multilabel" else quantile()
    pieces = [
        summarise(task, labels[part], predictions[part], LEVELS)
        for part in (slice(0, 1), slice(1, 500), slice(500, 500), slice(500, 600))
    ]
    merged = MEASURES[task].metrics(MEASURES[task].merge(pieces))
    assert merged == pytest.approx(measure(task, labels, predictions, LEVELS))


@pytest.mark.parametrize(
    ("task", "labels", "predictions"),
    [
        ("multilabel", [[0, 1], [1, 0]], [[0.2, 0.9], [math.nan, 0.2]]),
        ("multilabel", [[0, 2], [1, 0]], [[0.2, 0.9], [0.3, 0.2]]),
        ("multilabel", [[0, math.nan], [1, 0]], [[0.2, 0.9], [0.3, 0.2]]),
        ("multilabel", np.zeros((0, 2)), np.zeros((0, 2))),
        ("quantile", [1.0, 2.0], [[0.0, 1.0, 2.0], [0.0, math.nan, 2.0]]),
        ("quantile", [1.0, math.nan], [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]),
        ("quantile", [], np.zeros((0, 3))),
    ],
)
def test_what_is_no_number_makes_metrics_none(task: Any, labels: Any, predictions: Any) -> None:
    got = measure(task, labels, predictions, LEVELS)
    finite = {name for name, value in got.items() if math.isfinite(value)}
    # The middle quantile of rows whose others are no number is one all the same.
    assert finite - {"mae"} == {"example_count"}


@pytest.mark.parametrize(
    ("task", "labels", "predictions", "text"),
    [
        ("multilabel", [[0, 1]], [[0.1, 0.2, 0.7]], "3 predictions a row, and the label has 2"),
        ("multilabel", [1], [[0.1, 0.2]], "the label has 1"),
        ("quantile", [1.0], [[0.1, 0.2]], "a model of 3 quantiles gives 2 predictions"),
        ("quantile", [[1.0, 2.0]], [[0.1, 0.2, 0.3]], "labels of shape"),
        ("multilabel", [[0, 1]], [[0.1, 0.2], [0.1, 0.2]], "labels of shape"),
    ],
)
def test_another_shape_is_refused(task: Any, labels: Any, predictions: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        summarise(task, labels, predictions, LEVELS)


@pytest.mark.parametrize(
    ("metric", "measured", "why"),
    [
        ("macro_auc", {"macro_auc": math.nan, "log_loss": 0.1}, "in all of them or in none"),
        ("micro_f1", {"micro_f1": math.nan, "log_loss": 0.1}, "no class is in any of them"),
        ("quantile_error", {"quantile_error": math.nan, "pinball_loss": math.nan}, "not a number"),
    ],
)
def test_a_gate_says_why_a_metric_is_no_number(
    metric: str, measured: dict[str, float], why: str
) -> None:
    gate = QualityGateConfig.model_validate({"thresholds": [{"metric": metric, "max": 1}]})
    verdict = judge(gate, {"overall": {**measured, "example_count": 2.0}})
    assert not verdict.blessed
    assert why in verdict.failed[0].reason
