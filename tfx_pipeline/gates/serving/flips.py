"""The rows that a compressed candidate answers differently from its float model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tfx_pipeline.gates.serving.measured import Measured
from transform.label_config import Task

Array = npt.NDArray[np.float64]

TOP = 10
# A number has changed where it moved by more than this share of the spread of the float model's
# values: every one of them moves in its last digits.
_MOVED = 0.01


_DIMENSIONS: dict[Task, tuple[int, ...]] = {
    "binary": (1,),
    "multiclass": (2,),
    "multilabel": (2,),
    "regression": (1,),
    "quantile": (1, 2),
}


@dataclass(frozen=True)
class Flip:
    """One row.

    Attributes:
        row: Its place in the held-out rows, from 0.
        before: The float model's probability (binary, multilabel), class (multiclass) or value
            (regression, quantile).
        after: The candidate's.
        difference: After - before, of the probability of the float model's class (multiclass), of
            the probability or the value; NaN where an answer is no number.
        label: What is true, of the class that is shown (multilabel); None where it is not known.
        output: The class (multilabel) or quantile that is shown, from 0: of those that changed
            the one that did most. None where a row has one answer.
    """

    row: int
    before: float
    after: float
    difference: float
    label: float | None = None
    output: int | None = None


@dataclass(frozen=True)
class Flips:
    """What changed between the float model and a candidate.

    Attributes:
        count: Rows whose class, or one of whose classes (multilabel), changed; of a regression or
            quantiles, rows where a value moved by more than 1 % of the spread (standard
            deviation) of the float model's.
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
        parent: The float model; `predictions` are [N] or [N, outputs].
        candidate: The other, on the same rows.
        task: What kind of label.
        labels: [N], or [N, classes] of a multilabel model, to say which of the two is right.

    Raises:
        ValueError: The two have not answered alike, or not as the task is, or `labels` are more
            or fewer than the rows.
    """
    before = np.asarray(parent.predictions, np.float64)
    after = np.asarray(candidate.predictions, np.float64)
    if before.shape != after.shape:
        raise ValueError(f"answers of shape {after.shape}, and {before.shape} of {parent.name}")
    if len(before) and before.ndim not in _DIMENSIONS[task]:
        raise ValueError(f"answers of shape {before.shape} are not those of a {task} model")
    if not len(before):
        return Flips()
    outputs: npt.NDArray[np.intp] | None = None
    with np.errstate(invalid="ignore"):  # infinity less infinity
        if task in ("multilabel", "quantile"):
            old, new, difference, changed, outputs = _most_changed(before, after, task)
        else:
            old, new, difference, changed = _compared(before, after, task)
    # NaN sorts first: there is no larger difference than an answer that is no number.
    size = np.where(np.isnan(difference), np.inf, np.abs(difference))
    found = np.flatnonzero(changed)
    order = found[np.argsort(-size[found], kind="stable")]
    known = None if labels is None else np.asarray(labels, np.float64)
    if known is not None and len(known) != len(before):
        raise ValueError(f"{len(known)} labels of {len(before)} rows")
    if known is not None and known.ndim == 2 and outputs is not None:
        known = known[np.arange(len(known)), outputs]
    top = [
        Flip(
            int(row),
            float(old[row]),
            float(new[row]),
            float(difference[row]),
            None if known is None else float(known[row]),
            None if outputs is None else int(outputs[row]),
        )
        for row in order[:TOP]
    ]
    return Flips(len(found), len(before), top)


def _most_changed(
    before: Array, after: Array, task: Task
) -> tuple[Array, Array, Array, npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """As `_compared` of each output [N, outputs] by itself; of a row's changed outputs, the one
    that differs most, and which it is."""
    old, new = (table.reshape(len(table), -1) for table in (before, after))
    each: Task = "binary" if task == "multilabel" else "regression"
    parts = [_compared(o, n, each) for o, n in zip(old.T, new.T, strict=True)]
    difference, changed = (np.stack([part[place] for part in parts], axis=1) for place in (2, 3))
    size = np.where(np.isnan(difference), np.inf, np.abs(difference))
    outputs = np.where(changed, size, -1.0).argmax(axis=1)
    rows = np.arange(len(old))
    shown = rows, outputs
    any_of_row = np.asarray(changed.any(axis=1))
    return old[shown], new[shown], difference[shown], any_of_row, outputs


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
