"""Which weights a training run keeps: the last, or those of the epoch with the best metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tfx_pipeline.errors import ConfigError
from trainer.config import TrainConfig

if TYPE_CHECKING:
    import tf_keras

    from transform.config import LabelConfig

# Of tf_keras.metrics, by `train.best_metric` and the label's task; a loss needs no metric.
_METRICS = {
    "val_auc": {"binary": "AUC", "multilabel": "AUC"},
    "val_accuracy": {
        "binary": "BinaryAccuracy",
        "multiclass": "SparseCategoricalAccuracy",
        "multilabel": "BinaryAccuracy",
    },
}


def keeps_best(train: TrainConfig) -> bool:
    """Whether the weights of the best epoch are kept: where it is asked for, and with early
    stopping unless `train.keep` is `last`."""
    return (train.keep or ("best" if train.early_stopping else "last")) == "best"


def judges(train: TrainConfig) -> bool:
    """Whether epochs are compared at all, which takes validation rows."""
    return keeps_best(train) or train.early_stopping is not None


def check(train: TrainConfig, label: LabelConfig) -> None:
    """Checks, before anything runs, that epochs can be judged by `train.best_metric`.

    Raises:
        ConfigError: The metric does not go with the label's task.
    """
    if not judges(train) or train.best_metric == "val_loss":
        return
    if label.task not in _METRICS[train.best_metric]:
        fitting = [name for name, tasks in _METRICS.items() if label.task in tasks]
        raise ConfigError(
            f"train.best_metric {train.best_metric} is not one of a {label.task} label",
            where="train.best_metric",
            hint=f"Choose {' or '.join(['val_loss', *fitting])}.",
        )


def metrics(train: TrainConfig, label: LabelConfig) -> list[tf_keras.metrics.Metric]:
    """What to compile the model with, so that its epochs can be judged by `train.best_metric`.

    Of a multilabel, AUC is the mean of its classes', and accuracy the share of right decisions on
    them.

    Raises:
        ConfigError: As `check`.
    """
    check(train, label)
    if not judges(train) or train.best_metric == "val_loss":
        return []
    import tf_keras

    kind = getattr(tf_keras.metrics, _METRICS[train.best_metric][label.task])
    of_each = {}
    if label.task == "multilabel" and train.best_metric == "val_auc":
        of_each = {"multi_label": True, "num_labels": len(label.classes)}
    return [kind(name=train.best_metric.removeprefix("val_"), **of_each)]


def is_better(train: TrainConfig, value: float, best: float) -> bool:
    """Whether a metric's new value beats the best so far (NaN before the first).

    With early stopping it has to by more than `min_delta`.
    """
    if math.isnan(best):
        return True
    gain = best - value if train.best_metric == "val_loss" else value - best
    least = train.early_stopping.min_delta if train.early_stopping else 0.0
    return gain > least


def value_of(train: TrainConfig, logs: Mapping[str, float]) -> float:
    """The metric that epochs are compared by, from what Keras says at the end of one."""
    return float(logs[train.best_metric])
