"""Metrics of the validation split, by which trials are compared. numpy only.

They leave out the penalties that the training loss has: with those, a search over `train.l2` would
find that none is best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Metric(NamedTuple):
    """Whether higher is better, of which tasks it is, and whether it lies in [0, 1]."""

    higher: bool
    tasks: tuple[str, ...]
    of_one: bool


_CLASSES = ("binary", "multiclass")

METRICS: dict[str, Metric] = {
    "auc": Metric(True, ("binary",), True),
    "accuracy": Metric(True, _CLASSES, True),
    "log_loss": Metric(False, (*_CLASSES, "multilabel"), False),
    "macro_auc": Metric(True, ("multilabel",), True),
    "macro_f1": Metric(True, ("multilabel",), True),
    "micro_f1": Metric(True, ("multilabel",), True),
    "subset_accuracy": Metric(True, ("multilabel",), True),
    "hamming_loss": Metric(False, ("multilabel",), True),
    "pinball_loss": Metric(False, ("quantile",), False),
    "quantile_error": Metric(False, ("quantile",), True),
    "interval_coverage_error": Metric(False, ("quantile",), True),
    "mse": Metric(False, ("regression",), False),
    "rmse": Metric(False, ("regression",), False),
    "mae": Metric(False, ("regression", "quantile"), False),
    "r2": Metric(True, ("regression",), False),
}

_EPSILON = 1e-7  # tf_keras.backend.epsilon(): log loss agrees with the trainer's.


def metrics_of(task: str, quantiles: Sequence[float] = ()) -> tuple[str, ...]:
    """Names of a task's metrics. A single quantile has no interval to cover."""
    named = tuple(name for name, metric in METRICS.items() if task in metric.tasks)
    if len(quantiles) == 1:
        return tuple(name for name in named if name != "interval_coverage_error")
    return named


def objective_of(objective: str, task: str) -> str:
    """The metric that `tune.objective` means."""
    if objective != "auto":
        return objective
    return {"regression": "mse", "quantile": "pinball_loss"}.get(task, "log_loss")


def measure(
    task: str,
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    quantiles: Sequence[float] = (),
) -> dict[str, float]:
    """Every metric of a task; NaN where the rows cannot tell it.

    Args:
        task: The label's.
        labels: [N, 1]: 0 or 1, the class's id, the value; of a multilabel 0 or 1 [N, C].
        predictions: [N, 1] probability or value, [N, C] probabilities, or [N, Q] quantiles, which
            are sorted first, as they are answered.
        quantiles: Those of the label, if it has any.
    """
    import numpy as np

    given = np.asarray(labels, np.float64)
    predicted = np.asarray(predictions, np.float64).reshape(len(given), -1)
    if not np.isfinite(predicted).all():
        return dict.fromkeys(metrics_of(task, quantiles), float("nan"))
    if task == "multilabel":
        return _multilabel(given, predicted)
    label = given.reshape(-1)
    match task:
        case "quantile":
            return _quantile(label, np.sort(predicted, axis=1), quantiles)
        case "binary":
            return _binary(label, predicted[:, 0])
        case "multiclass":
            return _multiclass(label.astype(np.int64), predicted)
        case "regression":
            return _regression(label, predicted[:, 0])
    return {}


def _binary(label: npt.NDArray[np.float64], p: npt.NDArray[np.float64]) -> dict[str, float]:
    import numpy as np

    clipped = np.clip(p, _EPSILON, 1 - _EPSILON)
    loss = -np.where(label == 1, np.log(clipped), np.log1p(-clipped))
    return {
        "auc": _auc(label == 1, p),
        "accuracy": float(np.mean((p > 0.5) == (label == 1))),
        "log_loss": float(loss.mean()),
    }


def _auc(positive: npt.NDArray[np.bool_], p: npt.NDArray[np.float64]) -> float:
    """The share of pairs of a positive and a negative row in the right order; ties count half."""
    positives = int(positive.sum())
    pairs = positives * (len(positive) - positives)
    return _won_pairs(positive, p) / pairs if pairs else float("nan")


def _won_pairs(positive: npt.NDArray[np.bool_], p: npt.NDArray[np.float64]) -> float:
    """How many of these pairs there are."""
    import numpy as np

    positives = int(positive.sum())
    _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    ranks = float(mean_rank[place][positive].sum())
    return ranks - positives * (positives + 1) / 2


def _multiclass(label: npt.NDArray[np.int64], p: npt.NDArray[np.float64]) -> dict[str, float]:
    import numpy as np

    own = np.clip(p[np.arange(len(label)), label], _EPSILON, 1.0)
    return {
        "accuracy": float(np.mean(p.argmax(axis=1) == label)),
        "log_loss": float(-np.log(own).mean()),
    }


def _multilabel(label: npt.NDArray[np.float64], p: npt.NDArray[np.float64]) -> dict[str, float]:
    """As the gates measure them, but the pairs of `macro_auc` are counted one by one."""
    import numpy as np

    from trainer.measures import multilabel

    won = np.array([_won_pairs(*column) for column in zip(label.T == 1, p.T, strict=True)])
    head = multilabel.row_terms(label, p).sum(axis=1)
    found = multilabel.scores(head, multilabel.class_terms(label, p).sum(axis=2), won)
    return {name: float(found[name]) for name in metrics_of("multilabel")}


def _quantile(
    label: npt.NDArray[np.float64],
    estimated: npt.NDArray[np.float64],
    levels: Sequence[float],
) -> dict[str, float]:
    from trainer.measures import quantiles

    found = quantiles.scores(quantiles.terms(label, estimated, levels).sum(axis=1))
    return {name: float(found[name]) for name in metrics_of("quantile", levels)}


def _regression(label: npt.NDArray[np.float64], value: npt.NDArray[np.float64]) -> dict[str, float]:
    import numpy as np

    mse = float(np.mean((value - label) ** 2))
    variance = float(label.var())
    return {
        "mse": mse,
        "rmse": mse**0.5,
        "mae": float(np.mean(np.abs(value - label))),
        "r2": 1 - mse / variance if variance else float("nan"),
    }
