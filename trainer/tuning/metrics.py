"""Metrics of the validation split, by which trials are compared. numpy only.

They leave out the penalties that the training loss has: with those, a search over `train.l2` would
find that none is best.
"""

from __future__ import annotations

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
    "log_loss": Metric(False, _CLASSES, False),
    "mse": Metric(False, ("regression",), False),
    "rmse": Metric(False, ("regression",), False),
    "mae": Metric(False, ("regression",), False),
    "r2": Metric(True, ("regression",), False),
}

_EPSILON = 1e-7  # tf_keras.backend.epsilon(): log loss agrees with the trainer's.


def metrics_of(task: str) -> tuple[str, ...]:
    """Names of a task's metrics."""
    return tuple(name for name, metric in METRICS.items() if task in metric.tasks)


def objective_of(objective: str, task: str) -> str:
    """The metric that `tune.objective` means."""
    if objective != "auto":
        return objective
    return "mse" if task == "regression" else "log_loss"


def measure(task: str, labels: npt.ArrayLike, predictions: npt.ArrayLike) -> dict[str, float]:
    """Every metric of a task; NaN where the rows cannot tell it.

    Args:
        task: `binary`, `multiclass` or `regression`.
        labels: [N, 1]: 0 or 1, the class's id, the value.
        predictions: [N, 1] probability or value, or [N, classes] probabilities.
    """
    import numpy as np

    label = np.asarray(labels, np.float64).reshape(-1)
    predicted = np.asarray(predictions, np.float64).reshape(len(label), -1)
    if not np.isfinite(predicted).all():
        return dict.fromkeys(metrics_of(task), float("nan"))
    match task:
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
    import numpy as np

    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return float("nan")
    _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    ranks = float(mean_rank[place][positive].sum())
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def _multiclass(label: npt.NDArray[np.int64], p: npt.NDArray[np.float64]) -> dict[str, float]:
    import numpy as np

    own = np.clip(p[np.arange(len(label)), label], _EPSILON, 1.0)
    return {
        "accuracy": float(np.mean(p.argmax(axis=1) == label)),
        "log_loss": float(-np.log(own).mean()),
    }


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
