"""The rows that a compressed candidate answers differently from its float model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tfx_pipeline.gates.metrics import Task
from tfx_pipeline.gates.serving.measured import Measured

Array = npt.NDArray[np.float64]

TOP = 10
# A regression's value has changed where it moved by more than this share of the spread of the
# float model's values: every one of them moves in its last digits.
_MOVED = 0.01


@dataclass(frozen=True)
class Flip:
    """One row.

    Attributes:
        row: Its place in the held-out rows, from 0.
        before: The float model's probability (binary), class (multiclass) or value (regression).
        after: The candidate's.
        difference: After - before, of the probability of the float model's class (multiclass), of
            the probability or the value; NaN where an answer is no number.
        label: What is true; None where it is not known.
    """

    row: int
    before: float
    after: float
    difference: float
    label: float | None = None


@dataclass(frozen=True)
class Flips:
    """What changed between the float model and a candidate.

    Attributes:
        count: Rows whose class changed; of a regression, rows whose value moved by more than 1 %
            of the spread (standard deviation) of the float model's.
        rows: How many were compared.
        top: At most ten of them, the largest difference first.
    """

    count: int = 0
    rows: int = 0
    top: list[Flip] = field(default_factory=list)


def flips(
    parent: Measured, candidate: Measured, task: Task, labels: Sequence[float] | Array | None = None
) -> Flips:
    """Rows that flipped between two models' served answers.

    Args:
        parent: The float model; `predictions` are [N] or [N, classes].
        candidate: The other, on the same rows.
        task: What kind of label.
        labels: [N], to say which of the two is right.

    Raises:
        ValueError: The two have not answered alike, or not as the task is, or `labels` are more
            or fewer than the rows.
    """
    before = np.asarray(parent.predictions, np.float64)
    after = np.asarray(candidate.predictions, np.float64)
    if before.shape != after.shape:
        raise ValueError(f"answers of shape {after.shape}, and {before.shape} of {parent.name}")
    if len(before) and before.ndim != (2 if task == "multiclass" else 1):
        raise ValueError(f"answers of shape {before.shape} are not those of a {task} model")
    if not len(before):
        return Flips()
    with np.errstate(invalid="ignore"):  # infinity less infinity
        old, new, difference, changed = _compared(before, after, task)
    # NaN sorts first: there is no larger difference than an answer that is no number.
    size = np.where(np.isnan(difference), np.inf, np.abs(difference))
    found = np.flatnonzero(changed)
    order = found[np.argsort(-size[found], kind="stable")]
    known = None if labels is None else np.asarray(labels, np.float64)
    if known is not None and len(known) != len(before):
        raise ValueError(f"{len(known)} labels of {len(before)} rows")
    top = [
        Flip(
            int(row),
            float(old[row]),
            float(new[row]),
            float(difference[row]),
            None if known is None else float(known[row]),
        )
        for row in order[:TOP]
    ]
    return Flips(len(found), len(before), top)


def _compared(
    before: Array, after: Array, task: Task
) -> tuple[Array, Array, Array, npt.NDArray[np.bool_]]:
    """What to show of each row before and after, the difference, and whether it changed."""
    unknown = ~(np.isfinite(before) & np.isfinite(after))
    if task == "multiclass":
        rows = np.arange(len(before))
        old, new = before.argmax(axis=1).astype(np.float64), after.argmax(axis=1).astype(np.float64)
        difference = (after - before)[rows, before.argmax(axis=1)]
        changed, unknown = old != new, np.asarray(unknown.any(axis=1))
    else:
        old, new, difference = before, after, after - before
        if task == "binary":
            changed = (before > 0.5) != (after > 0.5)  # as the exported model chooses its class
        else:
            known = before[np.isfinite(before)]
            spread = float(np.std(known)) if known.size else 0.0
            changed = np.greater(np.abs(difference), _MOVED * spread)
    # What is no number is no class and no value, and so has changed.
    return old, new, np.where(unknown, np.nan, difference), changed | unknown
