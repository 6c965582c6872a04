"""What training minimizes: cross entropy or focal loss, with class weights and smoothed labels;
squared error or the pinball loss of a number.

All of it is in the loss, nothing in the input: the batch of a step stays the function of seed and
step that it is, on any number of replicas.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_pipeline.errors import ConfigError, DataError
from trainer.config import TrainConfig
from trainer.input import Split, all_batches
from transform.config import LabelConfig

if TYPE_CHECKING:
    import tensorflow as tf

Loss = Callable[["tf.Tensor", "tf.Tensor"], "tf.Tensor"]

_EPSILON = 1e-7  # tf_keras.backend.epsilon(): where probabilities are clipped.


def class_names(label: LabelConfig) -> list[str]:
    """The classes as `train.class_weights` names them: those of the label; 0 and 1 where a number
    makes it."""
    return list(label.classes) or ["0", "1"]


def check(train: TrainConfig, label: LabelConfig) -> None:
    """Checks that the loss suits the label.

    Raises:
        ConfigError: A loss of classes for a number, an `alpha` that has no class to weigh or weighs
            one that `class_weights` weighs, or a weight of a class that there is not.
    """
    of_classes = {
        "loss: focal": train.loss == "focal",
        "class_weights": train.class_weights is not None,
        "label_smoothing": train.label_smoothing > 0,
    }
    if label.is_value:
        for field, given in of_classes.items():
            if given:
                raise ConfigError(
                    f"train.{field} is for labels with classes, and the label is a number",
                    where="train",
                    hint=f"Drop it, or set data.label.task to binary or multiclass ({label.column} "
                    f"is a {label.task}).",
                )
        return
    if label.task == "multilabel":
        _check_multilabel(train)
    if train.loss == "focal" and train.focal.alpha is not None:
        if label.task != "binary":
            raise ConfigError(
                f"train.focal.alpha weighs the classes of a binary label, and this is {label.task}",
                where="train.focal.alpha",
                hint="Give train.class_weights instead.",
            )
        if train.class_weights is not None:
            raise ConfigError(
                "train.focal.alpha and train.class_weights both weigh the classes",
                where="train.focal.alpha",
                hint="Drop one of them.",
            )
    if isinstance(train.class_weights, Mapping):
        _check_names(train.class_weights, class_names(label))


def class_weights(
    weights: str | Mapping[str, float], label: LabelConfig, counts: Sequence[int]
) -> tuple[float, ...]:
    """The weight of each class, of mean 1 over the training rows, so that one learning rate suits
    all weights.

    Args:
        weights: `balanced` (each class counts alike in all) or weights by class; a class that is
            not named has 1.
        label: Binary or multiclass.
        counts: Training rows of each class.

    Raises:
        DataError: `balanced`, and a class has no rows.
    """
    names = class_names(label)
    if isinstance(weights, str):
        absent = [name for name, count in zip(names, counts, strict=True) if not count]
        if absent:
            raise DataError(
                f"train.class_weights is balanced, and no training row is of class {absent[0]!r}",
                where=f"label {label.column!r}",
                hint="Drop the class from data.label.classes, or give weights by class.",
            )
        raw = np.array([1.0 / count for count in counts])
    else:
        raw = np.array([float(weights.get(name, 1.0)) for name in names])
    mean = float(np.dot(raw, counts) / sum(counts))
    return tuple(float(weight) for weight in raw / mean)


def class_counts(split: Split, classes: int) -> tuple[int, ...]:
    """How many rows of a split are of each class; rows of none (-1) are not counted."""
    if split.held is not None:
        labels: Iterable[np.ndarray] = [split.held.label]
    else:
        labels = (label.numpy() for _, label in all_batches(split))
    counts = np.zeros(classes, np.int64)
    for batch in labels:
        ids = batch.reshape(-1)
        counts += np.bincount(ids[ids >= 0].astype(np.int64), minlength=classes)[:classes]
    return tuple(int(count) for count in counts)


def make_loss(train: TrainConfig, label: LabelConfig, weights: Sequence[float]) -> str | Loss:
    """The loss of a row, for `Model.compile`.

    Args:
        train: `loss`, `focal` and `label_smoothing` of it.
        label: Its task.
        weights: From `class_weights`; empty: all classes count alike.

    Returns:
        Keras's name of the loss where it is a usual one; else a function of the labels (class ids
        [N, 1]; of a binary label also probabilities; of a multilabel [N, C], 0 to 1; the value
        [N, 1]) and the predictions [N, outputs] to [N]. A multilabel's is the mean over its
        classes, each a binary label of its own.
    """
    if label.task == "regression":
        return "mse"
    if label.task == "quantile":
        return pinball(label.quantiles)
    if train.class_weights is None:
        weights = ()
    usual = train.loss == "auto" and not train.label_smoothing and not weights
    if usual:
        return {
            "binary": "binary_crossentropy",
            "multilabel": "binary_crossentropy",
            "multiclass": "sparse_categorical_crossentropy",
        }[label.task]
    gamma = train.focal.gamma if train.loss == "focal" else 0.0
    alpha = train.focal.alpha if train.loss == "focal" else None
    smoothing = train.label_smoothing

    def loss(truth: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        target = _targets(truth, predictions, label.task)
        weight: Any = 1.0
        if weights:
            weight = tf.linalg.matvec(target, tf.constant(weights, target.dtype))
        if smoothing:
            target = target * (1.0 - smoothing) + smoothing / target.shape[-1]
        log_p = _log_probabilities(predictions, label.task)
        # Of every class k: -q_k (1 - p_k)^gamma log p_k, equation 4 of arXiv:1708.02002 where one
        # class has the whole of q.
        parts = -target * log_p
        if gamma:
            # 1 - p = 1 - exp(log p), whose gradient at p = 1 is that of expm1.
            parts *= tf.pow(tf.maximum(-tf.math.expm1(log_p), _EPSILON), gamma)
        if alpha is not None:
            parts *= tf.constant([1.0 - alpha, alpha], target.dtype)
        of_row = weight * tf.reduce_sum(parts, axis=-1)
        return tf.reduce_mean(of_row, axis=-1) if label.task == "multilabel" else of_row

    return loss


def pinball(quantiles: Sequence[float]) -> Loss:
    """The loss that the quantiles of a label minimize (Koenker and Bassett, "Regression Quantiles",
    Econometrica 46, 1978): of every quantile q, q * (y - p) where the label y is above the
    prediction p, and (1 - q) * (p - y) where it is below.

    Args:
        quantiles: Q of them, each between 0 and 1.

    Returns:
        A function of the labels [N, 1] and the predictions [N, Q], in the same unit, to the mean
        over the quantiles [N], in that unit.
    """

    def loss(truth: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        predictions = tf.cast(predictions, tf.float32)
        above = tf.cast(truth, tf.float32) - predictions
        q = tf.constant(list(quantiles), tf.float32)
        return tf.reduce_mean(tf.maximum(q * above, (q - 1.0) * above), axis=-1)

    return loss


def _targets(truth: tf.Tensor, predictions: tf.Tensor, task: str) -> tf.Tensor:
    """The probability of each class [N, C] that labels stand for; of a multilabel [N, C, 2], of not
    having a class and of having it."""
    import tensorflow as tf

    if task == "multilabel":
        has = tf.cast(truth, tf.float32)
        return tf.stack([1.0 - has, has], axis=-1)
    if task == "binary":
        positive = tf.cast(tf.reshape(truth, [-1, 1]), tf.float32)
        return tf.concat([1.0 - positive, positive], axis=1)
    return tf.one_hot(tf.cast(tf.reshape(truth, [-1]), tf.int32), predictions.shape[-1])


def _log_probabilities(predictions: tf.Tensor, task: str) -> tf.Tensor:
    """Log-probability of each class, shaped as `_targets`; from the logits where Keras has left
    them on the predictions, as its own losses do, because a probability near 1 has lost its
    digits."""
    import tensorflow as tf

    logits = getattr(predictions, "_keras_logits", None)
    if task in ("binary", "multilabel"):
        join = tf.concat if task == "binary" else tf.stack
        if logits is not None:
            logits = tf.cast(logits, tf.float32)
            return join([tf.math.log_sigmoid(-logits), tf.math.log_sigmoid(logits)], axis=-1)
        p = tf.clip_by_value(tf.cast(predictions, tf.float32), _EPSILON, 1.0 - _EPSILON)
        return join([tf.math.log1p(-p), tf.math.log(p)], axis=-1)
    if logits is not None:
        return tf.nn.log_softmax(tf.cast(logits, tf.float32))
    p = tf.cast(predictions, tf.float32)
    p /= tf.reduce_sum(p, axis=-1, keepdims=True)
    return tf.math.log(tf.clip_by_value(p, _EPSILON, 1.0))


def _check_multilabel(train: TrainConfig) -> None:
    """A row has several classes, or none: it has no one weight by its class."""
    if train.class_weights is not None:
        raise ConfigError(
            "train.class_weights weighs a row by its one class, and a row of a multilabel label "
            "has any number of them",
            where="train.class_weights",
            hint="Drop it. Every class counts alike in the loss already, and gates.quality can ask "
            "for macro_auc or macro_f1, which rare classes count in as much; `train.loss: focal` "
            "turns to the decisions that are wrong.",
        )
    if train.loss == "focal" and train.focal.alpha is not None:
        raise ConfigError(
            "train.focal.alpha is the weight of one positive class, and a multilabel label has "
            "many",
            where="train.focal.alpha",
            hint="Drop it; focal.gamma alone makes sure answers, of absent classes for the most, "
            "count less.",
        )


def _check_names(weights: Mapping[str, float], names: Sequence[str]) -> None:
    for name, weight in weights.items():
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            raise ConfigError(
                f"train.class_weights names {name!r}, which is no class of the label",
                where="train.class_weights",
                hint=f"Did you mean {close[0]!r}?"
                if close
                else f"There are {', '.join(map(repr, names))}.",
            )
        if not weight > 0:
            raise ConfigError(
                f"train.class_weights gives class {name!r} the weight {weight:g}",
                where=f"train.class_weights.{name}",
                hint="A weight is above 0.",
            )
