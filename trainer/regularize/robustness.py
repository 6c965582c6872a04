"""How a trained model answers rows that were moved against it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from trainer.input import Split, all_batches
from trainer.losses import make_loss, pinball
from trainer.regularize.adversarial import attack, movable, objective_of
from trainer.regularize.mixup import by_row
from trainer.storage import write_errors

if TYPE_CHECKING:
    import tf_keras

    from trainer.config import TrainConfig
    from trainer.models.build import LabelScale
    from transform.config import LabelConfig
    from transform.layout import FeatureSpec

log = logging.getLogger(__name__)

ROBUSTNESS_FILE = "robustness.json"
_MOST_ROWS = 8192


def report_robustness(
    model: tf_keras.Model,
    train: TrainConfig,
    label: LabelConfig,
    scale: LabelScale,
    layout: Sequence[FeatureSpec],
    split: Split | None,
    folder: str,
) -> dict[str, float | str | int] | None:
    """Attacks validation rows and writes how many are answered right, before and after.

    `robustness.json` holds `accuracy` and `robust_accuracy` (of a multilabel the share of right
    decisions on its classes; of a regression `rmse` and `robust_rmse`, of quantiles `pinball_loss`
    and `robust_pinball_loss`, in the label's unit) with the attack, `epsilon` and `rows`; the log
    has them too.

    Args:
        model: As it is exported.
        train: The `train` section, with the attack that it was trained against.
        label: What is predicted.
        scale: Of it; its weights of classes are in the loss that an attack raises.
        layout: The features.
        split: Validation rows; the first 8,192 are attacked.
        folder: `model_run`.

    Returns:
        What is in the file; None without validation rows: there is none.

    Raises:
        StorageError: The file cannot be written.
    """
    config = train.adversarial
    assert config is not None
    if split is None:
        log.warning("there are no validation rows to attack, and so no %s", ROBUSTNESS_FILE)
        return None
    # That of training: a family with one of its own has, outside of training, the label's.
    loss = by_row(make_loss(train, label, scale.class_weights))
    moved = movable(layout, model.input_names, config)
    objective = objective_of(model, loss)

    @tf.function
    def answers(
        inputs: dict[str, tf.Tensor], truth: tf.Tensor, start: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        worst = attack(inputs, truth, objective, config, moved, start)
        return model(inputs, training=False), model(worst, training=False)

    right: list[list[np.ndarray]] = [[], []]
    rows = 0
    for features, truth in all_batches(split):
        inputs = {name: features[name] for name in model.input_names}
        both = answers(inputs, truth, tf.constant([train.seed, rows], tf.int64))
        for scores, answer in zip(right, both, strict=True):
            scores.append(_score(np.asarray(answer), truth.numpy(), label))
        rows += len(truth)
        if rows >= _MOST_ROWS:
            break
    name = {"regression": "rmse", "quantile": "pinball_loss"}.get(label.task, "accuracy")
    clean, robust = (float(np.concatenate(scores).mean()) for scores in right)
    if label.task == "regression":
        clean, robust = clean**0.5, robust**0.5
    found: dict[str, float | str | int] = {
        "attack": config.attack,
        "epsilon": config.epsilon,
        "rows": rows,
        name: clean,
        f"robust_{name}": robust,
    }
    log.info(
        "%s on %d validation rows: %.4f, attacked by %s within %g: %.4f",
        *(name, rows, clean, config.attack, config.epsilon, robust),
    )
    path = os.path.join(folder, ROBUSTNESS_FILE)
    with write_errors(path), tf.io.gfile.GFile(path, "w") as file:
        file.write(json.dumps(found, indent=1))
    return found


def _score(answer: np.ndarray, truth: np.ndarray, label: LabelConfig) -> np.ndarray:
    """Of each row: whether the class is right, or which share of a multilabel's are; the square of
    the error, or the loss of its quantiles."""
    match label.task:
        case "regression":
            return (answer[:, 0].astype(np.float64) - truth[:, 0]) ** 2
        case "quantile":
            return np.asarray(pinball(label.quantiles)(truth, np.sort(answer, axis=1)))
        case "multiclass":
            return (answer.argmax(axis=1) == truth[:, 0]).astype(np.float64)
    right: np.ndarray = ((answer > 0.5) == truth).mean(axis=1)
    return right
