"""Metrics from labels and predictions, in one pass and in pieces that can be added up.

Each task has a summary (a float64 array that sums or merges) and turns a summary into metrics. A
slice of a batch becomes one summary in a few numpy calls, where stock TFMA metrics make about ten
Python calls for each row, metric and slice. A metric that the rows cannot tell (AUC of one class,
precision without a positive prediction) is NaN, and the gate refuses NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tfx_pipeline.gates.metrics import metrics_of
from trainer.measures import multilabel, quantiles
from trainer.measures.sums import (
    BUCKETS,
    EPSILON,
    EXAMPLE_COUNT,
    Array,
    add,
    buckets,
    ratio,
    won_pairs,
)
from transform.label_config import Task

# The expected calibration error has bins of equal width over the probabilities.
_ECE_BINS = 15


class Measures(NamedTuple):
    """How one task's summaries are read.

    Attributes:
        merge: Summaries of disjoint rows to the summary of all of them.
        metrics: A summary to each metric's value; NaN where the rows cannot tell it.
    """

    merge: Callable[[Sequence[Array]], Array]
    metrics: Callable[[Array], dict[str, float]]


def measure(
    task: Task,
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    levels: Sequence[float] = (),
) -> dict[str, float]:
    """Every metric of a task over some rows.

    Args:
        task: What kind of label.
        labels: [n]: 0 or 1 (binary), the class's id (multiclass), the value (regression,
            quantile); [n, classes] of 0 and 1 (multilabel).
        predictions: [n, 1] probability or value; [n, classes] probabilities (multiclass,
            multilabel); [n, quantiles].
        levels: Which quantiles those are, ascending; of no other task.

    Returns:
        Metric name to value; NaN where the rows cannot tell it.
    """
    return MEASURES[task].metrics(summarise(task, labels, predictions, levels))


def summarise(
    task: Task,
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    levels: Sequence[float] = (),
) -> Array:
    """The summary of some rows; arguments as in `measure`.

    Raises:
        ValueError: The shape of the predictions, or of the labels, is not the task's.
    """
    label, prediction = table(labels), table(predictions)
    rows, outputs = prediction.shape
    if len(label) != rows or (task != "multilabel" and rows and label.shape[1] != 1):
        raise ValueError(f"labels of shape {label.shape} of {rows} predictions")
    if task in ("binary", "regression") and rows and outputs != 1:
        raise ValueError(f"a {task} model gives {outputs} predictions a row")
    if task == "multiclass" and rows and outputs < 2:
        raise ValueError(f"a multiclass model gives {outputs} predictions a row")
    match task:
        case "multilabel":
            return multilabel.summarise(label, prediction)
        case "quantile":
            terms: Array = quantiles.terms(label.reshape(-1), prediction, levels).sum(axis=1)
            return terms
        case "binary":
            return _summarise_binary(label.reshape(-1), prediction)
        case "multiclass":
            return _summarise_multiclass(label.reshape(-1), prediction)
        case "regression":
            return _summarise_regression(label.reshape(-1), prediction)


def table(values: npt.ArrayLike) -> Array:
    """Values of rows, [n] or [n, ...], as [n, values of a row]."""
    found = np.asarray(values, np.float64)
    return found.reshape(len(found), math.prod(found.shape[1:]))


# Binary: [rows, positives, sum of predictions, log loss, correct, true positives, predicted
# positives], each bin's gap of the calibration error, then the histogram of the positives and that
# of the negatives.
def _summarise_binary(label: Array, prediction: Array) -> Array:
    p = prediction.reshape(-1)
    bucket = buckets(p)
    positives = np.bincount(bucket[label == 1], minlength=BUCKETS)
    negatives = np.bincount(bucket[label != 1], minlength=BUCKETS)
    return np.concatenate([binary_terms(label, p).sum(axis=1), positives, negatives])


def binary_terms(label: Array, p: Array) -> Array:
    """What each row [n] adds to the sums of a binary summary: [7 + 15, n]."""
    if not np.isin(label, (0.0, 1.0)).all():
        p = np.full_like(p, np.nan)  # A label that is neither class makes every metric NaN.
    clipped = np.clip(p, EPSILON, 1 - EPSILON)
    loss = -np.where(label == 1, np.log(clipped), np.log1p(-clipped))
    predicted = p > 0.5
    positive = label == 1
    terms = [
        np.ones_like(p),
        label,
        p,
        loss,
        predicted == positive,
        predicted & positive,
        predicted,
    ]
    return np.concatenate([np.stack(terms).astype(np.float64), calibration_gaps(p, positive)])


def calibration_gaps(said: Array, came_true: npt.NDArray[Any]) -> Array:
    """What each row adds to its bin of the expected calibration error (Guo et al., 2017,
    https://arxiv.org/abs/1706.04599): the probability said less what came true, [15, n].

    Args:
        said: Probability of the positive class, or of the class that a multiclass model chooses.
        came_true: Whether the row is of that class; NaN where that is not known.
    """
    place = np.clip(np.nan_to_num(said) * _ECE_BINS, 0, _ECE_BINS - 1).astype(np.int64)
    gaps = np.zeros((_ECE_BINS, len(said)))
    gaps[place, np.arange(len(said))] = said - came_true
    return gaps


def ece(gaps: Array, rows: Array) -> Array:
    """The expected calibration error, from each bin's gaps added up [15, ...]; NaN of no rows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error: Array = np.abs(gaps).sum(axis=0) / rows
    return error


def _binary_metrics(summary: Array) -> dict[str, float]:
    rows, positives, predicted_sum, loss, correct, true_positives, predicted = summary[:7]
    gaps, histograms = np.split(summary[7:], [_ECE_BINS])
    if not math.isfinite(predicted_sum):
        return {**dict.fromkeys(metrics_of("binary"), math.nan), EXAMPLE_COUNT: rows}
    both = histograms.reshape(2, BUCKETS)
    above = both[:, ::-1]
    hits, misses = np.cumsum(above, axis=1)
    return {
        "auc": ratio(float(won_pairs(*both)), positives * (rows - positives)),
        "auc_pr": ratio(float((above[0] * hits / np.maximum(hits + misses, 1)).sum()), positives),
        "accuracy": ratio(correct, rows),
        "precision": ratio(true_positives, predicted),
        "recall": ratio(true_positives, positives),
        "log_loss": ratio(loss, rows),
        "calibration": ratio(predicted_sum, positives),
        "ece": float(ece(gaps, rows)),
        EXAMPLE_COUNT: rows,
    }


# Multiclass: [rows, correct, log loss, among the ten], each bin's gap of the calibration error.
def _summarise_multiclass(label: Array, prediction: Array) -> Array:
    terms: Array = multiclass_terms(label, prediction).sum(axis=1)
    return terms


def multiclass_terms(label: Array, prediction: Array) -> Array:
    """What each row [n, classes] adds to a multiclass summary: [4 + 15, n]."""
    known = (label >= 0) & (label < prediction.shape[1]) & (label == np.floor(label))
    ids = np.where(known, label, 0).astype(np.int64)
    chosen = np.where(known, prediction[np.arange(len(ids)), ids], np.nan)
    # Renormalised as tf_keras does, so that predictions need not add up to 1 exactly.
    probability = np.clip(chosen / prediction.sum(axis=1), EPSILON, 1 - EPSILON)
    finite = np.isfinite(prediction).all(axis=1)
    correct = np.where(finite & known, prediction.argmax(axis=1) == ids, np.nan)
    # Equal probabilities count against it: a model that tells nothing apart has no ten best.
    above = (prediction >= chosen[:, None]).sum(axis=1)
    among = np.where(finite & known, above <= 10, np.nan)
    terms = np.stack([np.ones(len(ids)), correct, -np.log(probability), among]).astype(np.float64)
    return np.concatenate([terms, calibration_gaps(prediction.max(axis=1), correct)])


def _multiclass_metrics(summary: Array) -> dict[str, float]:
    rows, correct, loss, among = summary[:4]
    return {
        "accuracy": ratio(correct, rows),
        "recall_at_10": ratio(among, rows),
        "log_loss": ratio(loss, rows),
        "ece": float(ece(summary[4:], rows)),
        EXAMPLE_COUNT: rows,
    }


# Regression: [rows, squared error, absolute error, mean of labels, squared deviation of labels].
def _summarise_regression(label: Array, prediction: Array) -> Array:
    error = prediction.reshape(-1) - label
    mean = label.mean() if len(label) else 0.0
    deviation = ((label - mean) ** 2).sum()
    return np.array(
        [len(label), (error**2).sum(), np.abs(error).sum(), mean, deviation], np.float64
    )


def _merge_regression(summaries: Sequence[Array]) -> Array:
    # Chan, Golub, LeVeque (1979): sums of squares of the labels would cancel for large means.
    table = np.stack(summaries)
    rows, means = table[:, 0], table[:, 3]
    total = rows.sum()
    mean = (rows * means).sum() / total if total else 0.0
    deviation = table[:, 4].sum() + (rows * (means - mean) ** 2).sum()
    return np.array([total, table[:, 1].sum(), table[:, 2].sum(), mean, deviation], np.float64)


def _regression_metrics(summary: Array) -> dict[str, float]:
    rows, squared, absolute, _, deviation = summary
    mse = ratio(squared, rows)
    return {
        "mse": mse,
        "mae": ratio(absolute, rows),
        "rmse": math.sqrt(mse),
        "r2": 1 - ratio(squared, deviation),
        EXAMPLE_COUNT: rows,
    }


MEASURES: dict[Task, Measures] = {
    "binary": Measures(add, _binary_metrics),
    "multiclass": Measures(add, _multiclass_metrics),
    "multilabel": Measures(add, multilabel.metrics),
    "regression": Measures(_merge_regression, _regression_metrics),
    "quantile": Measures(add, quantiles.metrics),
}
