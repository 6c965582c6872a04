"""What the measures of several tasks are made of: sums that add up, and histograms to rank by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

EXAMPLE_COUNT = "example_count"

# The ranking metrics read a histogram over the log-odds: fine where a model puts its
# probabilities, near 0 and 1, and of one size whatever the number of rows.
BUCKETS = 8192
_MAX_LOG_ODDS = 16.0
EPSILON = 1e-7  # tf_keras.backend.epsilon(): log loss agrees with the trainer's.


def buckets(p: Array, count: int = BUCKETS) -> npt.NDArray[np.int64]:
    """The bucket of each probability, ascending with it; 0 for NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_odds = np.log(p) - np.log1p(-p)
    scaled = (np.clip(log_odds, -_MAX_LOG_ODDS, _MAX_LOG_ODDS) / _MAX_LOG_ODDS + 1) / 2
    return np.nan_to_num(scaled * (count - 1)).astype(np.int64)


def won_pairs(positives: Array, negatives: Array) -> Array:
    """The pairs of a positive and a negative in the right order; a tie is half a pair.

    Args:
        positives: [..., buckets], how many positives are in each bucket.
        negatives: The same of the negatives.

    Returns:
        [...]. Over all pairs it is the area under the ROC curve.
    """
    lower = np.cumsum(negatives, axis=-1) - negatives / 2
    won: Array = (positives * lower).sum(axis=-1)
    return won


def add(summaries: Sequence[Array]) -> Array:
    """The sum of summaries that add up."""
    total = np.zeros_like(summaries[0])
    for summary in summaries:
        total += summary
    return total


def ratio(numerator: float, denominator: float) -> float:
    """The quotient; NaN over 0."""
    return float(numerator / denominator) if denominator else math.nan
