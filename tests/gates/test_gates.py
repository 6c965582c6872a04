"""Measures, thresholds and verdicts."""

from __future__ import annotations

import math
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sklearn import metrics as reference

from tfx_pipeline.config.gates import QualityGateConfig
from tfx_pipeline.errors import StorageError
from tfx_pipeline.gates.measures import MEASURES, measure, summarise
from tfx_pipeline.gates.metrics import METRICS, metrics_of
from tfx_pipeline.gates.quality import judge
from tfx_pipeline.gates.render import render
from tfx_pipeline.gates.verdict import Check, Verdict, read_verdict, write_verdict
from trainer.measures.sums import EXAMPLE_COUNT

GENERATOR = np.random.default_rng(0)


def _binary(rows: int = 2000) -> tuple[Any, Any]:
    labels = GENERATOR.integers(0, 2, rows)
    odds = GENERATOR.normal(labels * 2.0 - 3.0, 1.5)  # Most probabilities are small.
    return labels, 1 / (1 + np.exp(-odds))


def test_binary_measures_agree_with_scikit_learn() -> None:
    labels, predictions = _binary()
    got = measure("binary", labels, predictions[:, None])
    assert got["auc"] == pytest.approx(reference.roc_auc_score(labels, predictions), abs=2e-4)
    assert got["auc_pr"] == pytest.approx(
        reference.average_precision_score(labels, predictions), abs=2e-3
    )
    classes = predictions > 0.5
    assert got["accuracy"] == pytest.approx(reference.accuracy_score(labels, classes))
    assert got["precision"] == pytest.approx(reference.precision_score(labels, classes))
    assert got["recall"] == pytest.approx(reference.recall_score(labels, classes))
    assert got["log_loss"] == pytest.approx(reference.log_loss(labels, predictions))
    assert got["calibration"] == pytest.approx(predictions.mean() / labels.mean())
    assert got["example_count"] == 2000


def test_multiclass_measures_agree_with_scikit_learn() -> None:
    labels = GENERATOR.integers(0, 4, 500)
    predictions = GENERATOR.dirichlet(np.ones(4), 500)
    got = measure("multiclass", labels, predictions)
    assert got["accuracy"] == pytest.approx(
        reference.accuracy_score(labels, predictions.argmax(axis=1))
    )
    assert got["log_loss"] == pytest.approx(reference.log_loss(labels, predictions))
    assert got["recall_at_10"] == 1.0  # Of four classes.


def test_recall_at_10_agrees_with_scikit_learn_and_a_tie_is_no_hit() -> None:
    labels = GENERATOR.integers(0, 40, 500)
    predictions = GENERATOR.dirichlet(np.ones(40), 500)
    predictions[np.arange(250), labels[:250]] += 0.05
    got = measure("multiclass", labels, predictions)["recall_at_10"]
    expected = reference.top_k_accuracy_score(labels, predictions, k=10, labels=np.arange(40))
    assert got == pytest.approx(expected)
    assert 0.3 < got < 0.9
    assert measure("multiclass", labels, np.full((500, 40), 0.025))["recall_at_10"] == 0.0


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_the_calibration_error_is_the_trainers(task: Any) -> None:
    """Two implementations: the gate's adds up in pieces, the trainer's looks at all rows."""
    from trainer.calibrate import ece

    if task == "binary":
        labels, predictions = _binary()
        predictions = np.append(predictions[:-2], [0.0, 1.0])[:, None]
    else:
        labels = GENERATOR.integers(0, 4, 2000)
        predictions = GENERATOR.dirichlet(np.ones(4), 2000)
    assert measure(task, labels, predictions)["ece"] == pytest.approx(ece(predictions, labels))


def test_the_calibration_error_of_a_known_case() -> None:
    # Ten rows at 0.9 of which 5 come true, ten at 0.1 of which 1 does: (4 + 0) / 20.
    labels = [1] * 5 + [0] * 5 + [1] + [0] * 9
    predictions = np.repeat([0.9, 0.1], 10)[:, None]
    assert measure("binary", labels, predictions)["ece"] == pytest.approx(0.2)
    both = np.concatenate([1 - predictions, predictions], axis=1)
    # Of two classes the chosen one is 0.9 sure all the time: 5 + 9 of 20 come true.
    assert measure("multiclass", labels, both)["ece"] == pytest.approx(0.2)


def test_regression_measures_agree_with_scikit_learn_far_from_zero() -> None:
    labels = 1e9 + GENERATOR.normal(size=500)
    predictions = labels + GENERATOR.normal(0, 0.3, 500)
    got = measure("regression", labels, predictions)
    assert got["r2"] == pytest.approx(reference.r2_score(labels, predictions), abs=1e-6)
    assert got["mae"] == pytest.approx(reference.mean_absolute_error(labels, predictions))
    assert got["rmse"] == pytest.approx(math.sqrt(got["mse"]))


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_pieces_add_up_to_the_whole(task: Any) -> None:
    labels: Any = GENERATOR.integers(0, 2, 999)
    predictions: Any = GENERATOR.random((999, 2 if task == "multiclass" else 1))
    pieces = [
        summarise(task, labels[part], predictions[part])
        for part in (slice(0, 1), slice(1, 500), slice(500, 500), slice(500, 999))
    ]
    merged = MEASURES[task].metrics(MEASURES[task].merge(pieces))
    assert merged == pytest.approx(measure(task, labels, predictions))


@pytest.mark.parametrize(
    ("labels", "predictions", "lost"),
    [
        ([0, 0], [0.1, 0.2], {"auc", "auc_pr", "precision", "recall", "calibration"}),
        ([1, 1], [0.1, 0.9], {"auc"}),
        ([], [], set(metrics_of("binary"))),
        ([0, 1], [0.1, math.nan], set(metrics_of("binary"))),
        ([0, 2], [0.1, 0.9], set(metrics_of("binary"))),
        ([0, math.nan], [0.1, 0.9], set(metrics_of("binary"))),
    ],
)
def test_what_cannot_be_told_is_nan(labels: Any, predictions: Any, lost: set[str]) -> None:
    got = measure("binary", labels, np.reshape(predictions, (-1, 1)))
    assert {name for name, value in got.items() if math.isnan(value)} == lost


def test_a_label_outside_the_classes_makes_multiclass_nan() -> None:
    got = measure("multiclass", [0, 7], [[0.5, 0.5], [0.5, 0.5]])
    assert math.isnan(got["accuracy"])
    assert math.isnan(got["log_loss"])


def test_certain_predictions_rank_first() -> None:
    got = measure("binary", [0, 0, 1], [[0.0], [0.5], [1.0]])
    assert got["auc"] == 1
    assert got["auc_pr"] == 1


def test_predictions_of_another_task_are_refused() -> None:
    with pytest.raises(ValueError, match="3 predictions"):
        summarise("binary", [0], [[0.1, 0.2, 0.7]])


def _gate(**fields: Any) -> QualityGateConfig:
    return QualityGateConfig.model_validate(fields)


GOOD = {"overall": {"auc": 0.9, "example_count": 10.0}}


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        ({}, "no examples"),
        ({"overall": {"auc": 0.9, "example_count": 0.0}}, "no examples"),
        ({"overall": {"auc": 0.9}}, "no examples"),
        ({"overall": {"example_count": 10.0}}, "missing"),
        ({"overall": {"auc": math.nan, "example_count": 10.0}}, "not a number"),
        ({"overall": {"auc": math.inf, "example_count": 10.0}}, "not a number"),
        ({"overall": {"auc": 0.79, "example_count": 10.0}}, "short of >= 0.8"),
    ],
)
def test_what_is_not_shown_to_hold_refuses(measured: Any, reason: str) -> None:
    verdict = judge(_gate(thresholds=[{"metric": "auc", "min": 0.8}]), measured)
    assert not verdict.blessed
    assert reason in verdict.failed[0].reason


def test_a_bound_itself_is_kept() -> None:
    gate = _gate(thresholds=[{"metric": "auc", "min": 0.9, "max": 0.9, "max_regression": 0.0}])
    verdict = judge(gate, GOOD, GOOD)
    assert verdict.blessed
    assert [check.margin for check in verdict.checks] == [0, 0, 0]


def test_a_slicing_without_a_slice_refuses() -> None:
    gate = _gate(thresholds=[{"metric": "auc", "min": 0.8, "slices": True}], slices=[["city"]])
    verdict = judge(gate, GOOD, columns={"overall": ()})
    assert [check.slice for check in verdict.failed] == ["every city"]
    sliced = {**GOOD, "city=x": {"auc": 0.1, "example_count": 3.0}}
    verdict = judge(gate, sliced, columns={"overall": (), "city=x": ("city",)})
    assert [check.slice for check in verdict.failed] == ["city=x"]


def test_a_baseline_that_was_not_measured_refuses() -> None:
    gate = _gate(thresholds=[{"metric": "auc", "max_regression": 0.1}])
    assert judge(gate, GOOD).blessed
    verdict = judge(gate, GOOD, {})
    assert not verdict.blessed
    assert "could not be measured" in verdict.failed[0].reason


def test_each_task_measures_the_metrics_that_its_thresholds_may_name() -> None:
    for task in MEASURES:
        labels = [[0, 1], [1, 0]] if task == "multilabel" else [0, 1]
        several = task in ("multiclass", "multilabel", "quantile")
        got = measure(task, labels, [[0.9, 0.1] if several else [0.9]] * 2, [0.1, 0.9])
        assert [*got] == [*metrics_of(task), EXAMPLE_COUNT]
    assert sorted({name for task in MEASURES for name in metrics_of(task)}) == sorted(METRICS)


def _verdict() -> Verdict:
    gate = _gate(
        thresholds=[{"metric": "auc", "min": 0.8, "max_regression": 0.01, "slices": True}],
        slices=[["payment_type"]],
    )
    names = [f"payment_type=a rather long value {i}" for i in range(20)]
    measured = {name: {"auc": 0.7 + i / 100, "example_count": 9.0} for i, name in enumerate(names)}
    return judge(
        gate, {**GOOD, **measured}, {**GOOD, **measured},
        columns=dict.fromkeys(names, ("payment_type",)), subject="m",
    )  # fmt: skip


def test_a_verdict_survives_its_file(tmp_path: Path) -> None:
    assert read_verdict(str(tmp_path)) is None
    path = write_verdict(_verdict(), str(tmp_path))
    assert read_verdict(str(tmp_path)) == _verdict()
    assert [str(entry) for entry in tmp_path.iterdir()] == [path]
    nan = Verdict("quality", False, [Check("auc", "overall", "", math.nan, None, None, False)])
    assert Verdict.from_json(nan.to_json()).checks[0].measured is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"gate": "x", "blessed": "yes", "checks": []}'])
def test_a_file_that_is_no_verdict_is_told(text: str) -> None:
    with pytest.raises(ValueError):
        Verdict.from_json(text)


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder nobody may write")
def test_a_verdict_that_cannot_be_written_is_a_storage_error() -> None:
    with pytest.raises(StorageError):
        write_verdict(_verdict(), "/sys/kernel/assay")


def test_a_verdict_is_readable_at_80_columns() -> None:
    console = Console(width=80, file=StringIO(), force_terminal=False)
    console.print(render(_verdict()))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    assert "refused" in text
    assert "0.7" in text
    assert "more that passed; verdict.json has them all" in text
    assert len(text.splitlines()) <= 30  # One screen, whatever failed.
    assert "payment_type" in text
    assert ">= 0.8" in text
