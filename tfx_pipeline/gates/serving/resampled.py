"""The metrics of `gates.measures` on many resamples of the same rows at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tfx_pipeline.gates import measures
from trainer.measures import multilabel, quantiles
from trainer.measures.sums import Array, buckets, won_pairs
from transform.label_config import Task

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


def resampled(
    task: Task, labels: Array, predictions: Array, drawn: Counts, levels: Sequence[float] = ()
) -> dict[str, Array]:
    """Each metric of the task on each resample, [resamples]; NaN where its rows cannot tell it.

    Args:
        task: What kind of label.
        labels: [n], or [n, classes] of a multilabel model with several, as in `measures.measure`.
        predictions: [n] or [n, outputs].
        drawn: [resamples, n], from `draws`.
        levels: As in `measures.measure`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        match task:
            case "binary":
                return _binary(labels, predictions.reshape(-1), drawn)
            case "multiclass":
                return _multiclass(labels, predictions, drawn)
            case "multilabel":
                return _multilabel(measures.table(labels), measures.table(predictions), drawn)
            case "regression":
                return _regression(labels, predictions.reshape(-1), drawn)
            case "quantile":
                terms = quantiles.terms(labels, measures.table(predictions), levels)
                return quantiles.scores(_sums(terms, drawn))


def _binary(labels: Array, predictions: Array, drawn: Counts) -> dict[str, Array]:
    terms = measures.binary_terms(labels, predictions)
    sums = _sums(terms, drawn)
    rows, positives, predicted_sum, loss, correct, true_positives, predicted = sums[:7]
    won, precisions = _ranked(labels, buckets(predictions), drawn)
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


def _ranked(labels: Array, places: npt.NDArray[np.int64], drawn: Counts) -> tuple[Array, Array]:
    """For each resample: `sums.won_pairs`, and the precisions at each positive, added up."""
    won, precisions = np.empty(len(drawn)), np.empty(len(drawn))
    for part, below, above in _histograms(labels, places, drawn):
        hits, misses = (np.cumsum(side[:, ::-1], axis=1)[:, ::-1] for side in (above, below))
        won[part] = won_pairs(above, below)
        precisions[part] = np.einsum("rk,rk->r", above, hits / np.maximum(hits + misses, 1))
    return won, precisions


def _histograms(
    labels: Array, places: npt.NDArray[np.int64], drawn: Counts
) -> Iterator[tuple[slice, Array, Array]]:
    """A few resamples, and how many negatives and positives of each are in each bucket."""
    used, place = np.unique(places, return_inverse=True)
    size = len(used)
    cell = place + size * (labels == 1)
    for start in range(0, len(drawn), _AT_ONCE):  # so few that they stay in the CPU's cache
        part = slice(start, start + _AT_ONCE)
        counts: Array = np.stack([np.bincount(cell, row, 2 * size) for row in drawn[part]])
        below, above = counts.reshape(-1, 2, size).swapaxes(0, 1)
        yield part, below, above


def _multiclass(labels: Array, predictions: Array, drawn: Counts) -> dict[str, Array]:
    sums = _sums(measures.multiclass_terms(labels, predictions), drawn)
    rows, correct, loss, among = sums[:4]
    return {
        "accuracy": correct / rows,
        "recall_at_10": among / rows,
        "log_loss": loss / rows,
        "ece": measures.ece(sums[4:], rows),
    }


def _multilabel(labels: Array, predictions: Array, drawn: Counts) -> dict[str, Array]:
    head = _sums(multilabel.row_terms(labels, predictions), drawn)
    of_classes = [_sums(terms, drawn) for terms in multilabel.class_terms(labels, predictions)]
    places = buckets(predictions, multilabel.bucket_count(labels.shape[1]))
    won = np.empty((labels.shape[1], len(drawn)))
    for number, (label, place) in enumerate(zip(labels.T, places.T, strict=True)):
        for part, below, above in _histograms(label, place, drawn):
            won[number, part] = won_pairs(above, below)
    return multilabel.scores(head, np.stack(of_classes), won)


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
