"""The metrics of `gates.measures` on many resamples of the same rows at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tfx_pipeline.gates import measures
from tfx_pipeline.gates.metrics import Task

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.float32]

_AT_ONCE = 16


def draws(rows: int, resamples: int, seed: int) -> Counts:
    """How often each row is drawn in each resample of so many rows: [resamples, rows]."""
    generator = np.random.default_rng(seed)
    counts = np.empty((resamples, rows), np.float32)
    for number in range(resamples):
        drawn = generator.integers(0, rows, rows)
        counts[number] = np.bincount(drawn, minlength=rows)
    return counts


def resampled(task: Task, labels: Array, predictions: Array, drawn: Counts) -> dict[str, Array]:
    """Each metric of the task on each resample, [resamples]; NaN where its rows cannot tell it.

    Args:
        task: What kind of label.
        labels: [n], as in `measures.measure`.
        predictions: [n] or [n, classes].
        drawn: [resamples, n], from `draws`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        match task:
            case "binary":
                return _binary(labels, predictions.reshape(-1), drawn)
            case "multiclass":
                return _multiclass(labels, predictions, drawn)
            case "regression":
                return _regression(labels, predictions.reshape(-1), drawn)


def _binary(labels: Array, predictions: Array, drawn: Counts) -> dict[str, Array]:
    terms = measures.binary_terms(labels, predictions)
    sums = _sums(terms, drawn)
    rows, positives, predicted_sum, loss, correct, true_positives, predicted = sums[:7]
    won, precisions = _ranked(labels, measures.buckets(predictions), drawn)
    found = {
        "auc": won / (positives * (rows - positives)),
        "auc_pr": precisions / positives,
        "accuracy": correct / rows,
        "precision": true_positives / predicted,
        "recall": true_positives / positives,
        "log_loss": loss / rows,
        "calibration": predicted_sum / positives,
        "ece": measures.ece(sums[7:], rows),
    }
    broken = ~np.isfinite(predicted_sum)
    return {name: np.where(broken, np.nan, values) for name, values in found.items()}


def _ranked(labels: Array, buckets: npt.NDArray[np.int64], drawn: Counts) -> tuple[Array, Array]:
    """For each resample: the pairs of a positive and a negative in the right order (a tie is half
    a pair), and the precisions at each positive, added up."""
    used, place = np.unique(buckets, return_inverse=True)
    size = len(used)
    cell = place + size * (labels == 1)
    won, precisions = np.empty(len(drawn)), np.empty(len(drawn))
    for start in range(0, len(drawn), _AT_ONCE):  # so few that they stay in the CPU's cache
        part = slice(start, start + _AT_ONCE)
        counts = [np.bincount(cell, row, 2 * size) for row in drawn[part]]
        below, above = np.stack(counts).reshape(-1, 2, size).swapaxes(0, 1)
        hits, misses = (np.cumsum(side[:, ::-1], axis=1)[:, ::-1] for side in (above, below))
        lower = below.sum(axis=1, keepdims=True) - misses + below / 2
        won[part] = np.einsum("rk,rk->r", above, lower)
        precisions[part] = np.einsum("rk,rk->r", above, hits / np.maximum(hits + misses, 1))
    return won, precisions


def _multiclass(labels: Array, predictions: Array, drawn: Counts) -> dict[str, Array]:
    sums = _sums(measures.multiclass_terms(labels, predictions), drawn)
    rows, correct, loss, among = sums[:4]
    return {
        "accuracy": correct / rows,
        "recall_at_10": among / rows,
        "log_loss": loss / rows,
        "ece": measures.ece(sums[4:], rows),
    }


def _regression(labels: Array, predictions: Array, drawn: Counts) -> dict[str, Array]:
    error = predictions - labels
    centred = labels - labels.mean()  # else the square of the mean would cancel
    terms = np.stack([np.ones_like(error), error**2, np.abs(error), centred, centred**2])
    rows, squared, absolute, label_sum, label_squares = _sums(terms, drawn)
    deviation = label_squares - label_sum**2 / rows
    mse = squared / rows
    return {
        "mse": mse,
        "mae": absolute / rows,
        "rmse": np.sqrt(mse),
        "r2": 1 - squared / np.where(deviation > 0, deviation, np.nan),
    }


def _sums(terms: Array, drawn: Counts) -> Array:
    """The sums of each resample: [terms, resamples]."""
    parts = [
        # In float64, a few resamples at once: all of them would be another large copy.
        terms @ drawn[start : start + _AT_ONCE].T.astype(np.float64)
        for start in range(0, len(drawn), _AT_ONCE)
    ]
    return np.concatenate(parts, axis=1)
