"""Metrics of a multilabel model: each class is a yes or no of its own, decided at 0.5.

A summary is [rows, classes of each row, share of wrong decisions, log loss, predictions, rows that
are right in every class], added up over the rows; then positives, predicted positives and true
positives of each class; then each class's histograms of its positives and negatives.
"""

from __future__ import annotations

import math

import numpy as np

from trainer.measures.sums import BUCKETS, EPSILON, EXAMPLE_COUNT, Array, buckets, won_pairs

_HEAD = 6
# A slice has a summary for each model: of up to 128 classes it is a megabyte, of a thousand eight.
_FEWEST_BUCKETS = 512
_NUMBERS = 2**16


def bucket_count(classes: int) -> int:
    """Buckets of each class's histogram: as many as for a binary label up to 8 classes."""
    return max(_FEWEST_BUCKETS, min(BUCKETS, _NUMBERS // max(1, classes)))


def summarise(label: Array, prediction: Array) -> Array:
    """The summary of labels and predictions [n, classes].

    Raises:
        ValueError: The two have different numbers of classes.
    """
    if label.shape != prediction.shape:
        raise ValueError(
            f"a multilabel model gives {prediction.shape[1]} predictions a row, "
            f"and the label has {label.shape[1]} classes"
        )
    classes = label.shape[1]
    count = bucket_count(classes)
    cell = buckets(prediction, count) + count * (2 * np.arange(classes) + (label != 1))
    histograms = np.bincount(cell.reshape(-1), minlength=2 * count * classes)
    of_classes = class_terms(label, prediction).sum(axis=2)
    head = row_terms(label, prediction).sum(axis=1)
    return np.concatenate([head, of_classes.reshape(-1), histograms])


def row_terms(label: Array, prediction: Array) -> Array:
    """What each row adds to the head of a summary: [6, n]."""
    classes = label.shape[1]
    if not np.isin(label, (0.0, 1.0)).all():
        prediction = np.full_like(prediction, np.nan)  # Then every metric is NaN.
    p = np.clip(prediction, EPSILON, 1 - EPSILON)
    loss = -np.where(label == 1, np.log(p), np.log1p(-p))
    wrong = (prediction > 0.5) != (label == 1)
    terms = [
        np.ones(len(label)),
        np.full(len(label), classes),
        wrong.mean(axis=1),
        loss.mean(axis=1),
        prediction.sum(axis=1),
        ~wrong.any(axis=1),
    ]
    return np.stack(terms).astype(np.float64)


def class_terms(label: Array, prediction: Array) -> Array:
    """Positives, predicted positives and true positives: [3, classes, n] of 0 and 1."""
    positive, predicted = label.T == 1, prediction.T > 0.5
    return np.stack([positive, predicted, positive & predicted]).astype(np.float64)


def scores(head: Array, of_classes: Array, won: Array) -> dict[str, Array]:
    """The metrics, from sums over rows. Any more dimensions ([...]) are kept.

    - `macro_auc`: the area under the ROC curve of each class, averaged over the classes that are
      both present and absent in the rows.
    - `macro_f1`: F1 of each class, 2 TP / (positives + predicted), averaged over the classes that
      are present or predicted in some row.
    - `micro_f1`: F1 of all decisions together.
    - `subset_accuracy`: share of rows with every class right.
    - `hamming_loss`: share of decisions that are wrong.
    - `log_loss`: binary cross entropy, averaged over classes and rows.

    They are scikit-learn's (https://scikit-learn.org/stable/modules/model_evaluation.html), whose
    `zero_division=nan` leaves the same classes out of F1.

    Args:
        head: [6, ...], `row_terms` added up.
        of_classes: [3, classes, ...], `class_terms` added up.
        won: [classes, ...], `sums.won_pairs` of each class.

    Returns:
        Metric to value [...]; NaN where the rows cannot tell it, or a prediction or label is none.
    """
    rows, _, wrong, loss, predicted_sum, right = head
    positives, predicted, hits = of_classes
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            "macro_auc": _mean_of_known(won / (positives * (rows - positives))),
            "macro_f1": _mean_of_known(2 * hits / (positives + predicted)),
            "micro_f1": 2 * hits.sum(axis=0) / (positives + predicted).sum(axis=0),
            "subset_accuracy": right / rows,
            "hamming_loss": wrong / rows,
            "log_loss": loss / rows,
        }
    broken = ~np.isfinite(predicted_sum)
    return {name: np.where(broken, np.nan, value) for name, value in found.items()}


def metrics(summary: Array) -> dict[str, float]:
    """A summary's metrics; see `scores`."""
    head, rest = np.split(summary, [_HEAD])
    rows = head[0]
    classes = round(head[1] / rows) if rows else 0
    of_classes, histograms = np.split(rest, [3 * classes])
    if not rows:  # How many classes there are is not known either.
        histograms = histograms[:0]
    positives, negatives = histograms.reshape(classes, 2, bucket_count(classes)).swapaxes(0, 1)
    won = won_pairs(positives, negatives)
    found = scores(head, of_classes.reshape(3, classes), won)
    return {**{name: float(value) for name, value in found.items()}, EXAMPLE_COUNT: float(rows)}


def _mean_of_known(values: Array) -> Array:
    """The mean over the first dimension of what is a number; NaN where nothing is."""
    known = np.isfinite(values)
    mean: Array = np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)
    return np.where(known.any(axis=0), mean, math.nan)
