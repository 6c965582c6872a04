"""Metrics of the served answers, overall and on slices, with bootstrap confidence intervals.

The values are those of `gates.measures`, which the quality gate has TFMA compute. The intervals
are of the percentile bootstrap (Efron, 1979): the rows of a slice are drawn anew with replacement,
the same draws for every model, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tfx_pipeline.gates import measures
from tfx_pipeline.gates.serving.measured import OVERALL, BySlice, Estimate
from tfx_pipeline.gates.serving.resampled import draws, resampled
from tfx_pipeline.gates.serving.rows import HeldOut
from transform.label_config import Task

_INTERVAL = (2.5, 97.5)

Array = npt.NDArray[np.float64]
Quality = dict[str, BySlice]


def estimate(
    task: Task,
    rows: HeldOut,
    predictions: Mapping[str, Array],
    against: Sequence[str],
    *,
    resamples: int,
    seed: int,
    levels: Sequence[float] = (),
) -> tuple[Quality, dict[tuple[str, str], BySlice]]:
    """Metrics of several models on the same rows, and differences between them.

    Args:
        task: What kind of label.
        rows: The rows; their slices are measured each by itself.
        predictions: Model's name to its answers, [N] or [N, outputs].
        against: Names (`float`, `champion`) of what every other model is compared with; those
            without predictions are left out.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        levels: The quantiles of that task.

    Returns:
        Model's name to its metrics, and (model, other) to metric minus the other's metric. A
        metric that the rows cannot tell is NaN, with an interval of NaN.

    Raises:
        ValueError: The predictions' shape is not the task's.
    """
    quality: Quality = {name: {} for name in predictions}
    pairs = [
        (name, other)
        for other in against
        if other in predictions
        for name in predictions
        if name != other
    ]
    differences: dict[tuple[str, str], BySlice] = {pair: {} for pair in pairs}
    everywhere = {OVERALL: np.arange(len(rows.labels)), **rows.slices}
    with np.errstate(invalid="ignore"):  # infinity less infinity, where a draw has no positive
        for number, (where, indices) in enumerate(everywhere.items()):
            labels = rows.labels[indices]
            drawn = draws(len(indices), resamples, seed + number)
            some = {name: answers[indices] for name, answers in predictions.items()}
            values = {n: measures.measure(task, labels, p, levels) for n, p in some.items()}
            spread = {n: resampled(task, labels, p, drawn, levels) for n, p in some.items()}
            for name in predictions:
                quality[name][where] = {
                    metric: _estimate(values[name][metric], around, len(indices))
                    for metric, around in spread[name].items()
                }
            for name, other in pairs:
                differences[name, other][where] = {
                    metric: _estimate(
                        values[name][metric] - values[other][metric],
                        around - spread[other][metric],
                        len(indices),
                    )
                    for metric, around in spread[name].items()
                }
    return quality, differences


def _estimate(value: float, around: Array, rows: int) -> Estimate:
    known = around[np.isfinite(around)]  # A draw may have one class only.
    if not np.isfinite(value) or not len(known):
        return Estimate(value, np.nan, np.nan, rows)
    low, high = np.percentile(known, _INTERVAL).tolist()
    return Estimate(value, low, high, rows)
