"""Metrics of a quantile model: what it says of the label's distribution, row by row.

A summary is [rows, absolute error of the middle quantile, pinball loss, gap of the interval, gap
of each quantile], added up over the rows. A gap is what came true less what was said, so that the
metrics need not know the quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.measures.sums import EXAMPLE_COUNT, Array

_HEAD = 4


def middle(quantiles: Sequence[float]) -> int:
    """The place of the quantile nearest 0.5; of two that are equally near, the lower."""
    return min(range(len(quantiles)), key=lambda place: round(abs(quantiles[place] - 0.5), 9))


def terms(label: Array, prediction: Array, quantiles: Sequence[float]) -> Array:
    """What each row adds to a summary: [4 + quantiles, n]. NaN where either is no number.

    Args:
        label: [n].
        prediction: [n, quantiles].
        quantiles: Which ones the columns of predictions are, ascending.

    Raises:
        ValueError: There are more or fewer predictions a row than quantiles.
    """
    if prediction.shape[1] != len(quantiles):
        raise ValueError(
            f"a model of {len(quantiles)} quantiles gives {prediction.shape[1]} predictions a row"
        )
    q = np.asarray(quantiles, np.float64)[:, None]
    error = label - prediction.T
    pinball = np.maximum(q * error, (q - 1) * error).mean(axis=0)
    known = np.isfinite(error).all(axis=0)
    gaps = np.where(known, error <= 0, np.nan) - q
    inside = (error[0] >= 0) & (error[-1] <= 0)
    interval = np.where(known, inside, np.nan) - (q[-1] - q[0])
    error_of_middle = np.abs(error[middle(quantiles)])
    head = np.stack([np.ones(len(label)), error_of_middle, pinball, interval])
    return np.concatenate([head, gaps])


def scores(sums: Array) -> dict[str, Array]:
    """The metrics, from `terms` added up over rows, [4 + quantiles, ...].

    - `pinball_loss` (Koenker & Bassett, 1978, https://doi.org/10.2307/1913643): q (y - p) where
      the label y is above the prediction p, else (1 - q) (p - y); the mean over quantiles q and
      rows, in the label's unit.
    - `quantile_error`: |share of labels at or below the prediction - q|, of the quantile where
      that is largest.
    - `interval_coverage_error`: |share of labels from the lowest to the highest quantile, both
      included, - (highest q - lowest q)|. Not there with one quantile.
    - `mae`: mean absolute error of the quantile nearest 0.5.

    Returns:
        Metric to value [...]; NaN without rows, or where a prediction or label is no number.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums[1:] / sums[0]
    absolute, pinball, interval, *gaps = means
    found = {
        "pinball_loss": pinball,
        "quantile_error": np.abs(np.stack(gaps)).max(axis=0),
        "interval_coverage_error": np.abs(interval),
        "mae": absolute,
    }
    if len(gaps) < 2:
        del found["interval_coverage_error"]
    return found


def metrics(summary: Array) -> dict[str, float]:
    """A summary's metrics; see `scores`."""
    found = {name: float(value) for name, value in scores(summary).items()}
    return {**found, EXAMPLE_COUNT: float(summary[0])}
