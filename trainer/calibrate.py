"""Calibration: a trained classifier's probabilities made to agree with how often they come true.

Temperature scaling divides the logits by one number (Chuan Guo et al., "On Calibration of Modern
Neural Networks", 2017, https://arxiv.org/abs/1706.04599); Platt scaling also shifts those of a
binary label (John Platt, 1999), which undoes what class weights do to them. Each class of a
multilabel is a binary label, with a scale and shift of its own. All is fitted on the validation
split and folded into the kernel and bias of the head: the exported graph is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfx_pipeline.errors import ConfigError
from trainer.config import TrainConfig
from transform.config import LabelConfig

if TYPE_CHECKING:
    import tf_keras

    from trainer.input import Split

log = logging.getLogger(__name__)

Array = npt.NDArray[np.float64]

BINS = 15
_EPSILON = 1e-7
# Numbers that are fitted to; a few thousand rows say as much, and it takes ten times their memory.
_MOST_LOGITS = 5_000_000
# Rows that are told apart without a fault would drive the scale to infinity.
_LARGEST_SCALE = 20.0


@dataclass(frozen=True)
class Calibration:
    """What calibration did, on the validation rows.

    Attributes:
        scale: What logits are multiplied by, 1 / temperature; of a multilabel for each class [C].
        shift: What is then added to them.
        log_loss: Before and after.
        ece: Expected calibration error, before and after.
    """

    scale: float | Array
    shift: float | Array
    log_loss: tuple[float, float]
    ece: tuple[float, float]


def check(train: TrainConfig, label: LabelConfig, val_split: Split | bool | None) -> None:
    """Checks, before anything is trained, that calibration can be done.

    Args:
        train: `calibrate` of it.
        label: What is predicted.
        val_split: The validation rows, or whether there are any.

    Raises:
        ConfigError: There are no validation rows, or the method does not suit the label.
    """
    how = train.calibrate
    if how == "none":
        return
    if label.is_value:
        raise ConfigError(
            f"train.calibrate: {how} is for probabilities, and the label is a number",
            where="train.calibrate",
            hint="Drop it.",
        )
    if how == "platt" and label.task == "multiclass":
        raise ConfigError(
            f"train.calibrate: platt is for a binary label, and this is {label.task}",
            where="train.calibrate",
            hint="Set `train.calibrate: temperature`.",
        )
    if not val_split:
        raise ConfigError(
            f"train.calibrate: {how} needs a validation split, and there is none",
            where="train.calibrate",
            hint="Set data.split.val_fraction above 0 (or provide a `val` split), or drop "
            "train.calibrate. The eval split is the gate's and is not looked at.",
        )


def check_head(model: tf_keras.Model, train: TrainConfig, label: LabelConfig) -> None:
    """Checks, before it is trained, that calibration can be folded into a user's model.

    Raises:
        ConfigError: It does not end in such a layer as `calibrate` needs.
    """
    if train.calibrate != "none":
        _head(model, label)


def calibrate(
    model: tf_keras.Model, train: TrainConfig, label: LabelConfig, val_split: Split | None
) -> Calibration | None:
    """Calibrates a trained model in place; leaves it as it is where that would not lower the
    validation log loss.

    Args:
        model: From model inputs to probabilities [N, 1] (binary) or [N, C].
        train: `calibrate` of it.
        label: What is predicted.
        val_split: The rows it is fitted on.

    Returns:
        What it did; None without calibration.

    Raises:
        ConfigError: As `check`; or the model (of a user's builder) does not end in a Dense layer
            with a bias and a sigmoid or softmax, which calibration is folded into.
    """
    check(train, label, val_split)
    if train.calibrate == "none" or val_split is None:
        return None
    head = _head(model, label)
    logits, truth = _validation(model, head, val_split)
    before = [np.array(value) for value in head.get_weights()]
    shifted = train.calibrate == "platt"
    scale: float | Array
    shift: float | Array
    if truth.ndim == 2:
        scale, shift = fit_classes(logits, truth, shifted=shifted)
    else:
        scale, shift = fit(logits, truth, shifted=shifted)
    kernel, bias = before
    head.set_weights([kernel * scale, bias * scale + shift])
    was = _probabilities(logits, label)
    # As float32 weights have it, not as it was fitted.
    now = _probabilities(_validation(model, head, val_split)[0], label)
    losses = log_loss(was, truth), log_loss(now, truth)
    if not losses[1] < losses[0]:
        head.set_weights(before)
        scale, shift, now, losses = 1.0, 0.0, was, (losses[0], losses[0])
    done = Calibration(scale, shift, losses, (ece(was, truth), ece(now, truth)))
    log.info(
        "calibrated (%s) on %d validation rows: logits x %s%s; log loss %.5f -> %.5f, "
        "expected calibration error %.4f -> %.4f",
        train.calibrate,
        len(truth),
        _shown(scale, ".4g"),
        f" {_shown(shift, '+.4g')}" if shifted else "",
        *done.log_loss,
        *done.ece,
    )
    return done


def fit(logits: Array, truth: npt.NDArray[np.int64], *, shifted: bool) -> tuple[float, float]:
    """The scale, and the shift, of logits that have the least log loss: by Newton's method, as the
    loss is convex in both.

    Args:
        logits: [N, 1] or [N, C].
        truth: Class ids [N].
        shifted: Whether to fit a shift of binary logits, too; otherwise it is 0.

    Returns:
        Scale, in 1/20..20, and shift.
    """
    z = _two_sided(logits)
    one_hot = np.eye(z.shape[1])[truth]
    # d logits / d scale and d logits / d shift: [parameters, N, C].
    directions = np.stack([z, np.broadcast_to([0.0, 1.0], z.shape)] if shifted else [z])
    parameters = np.array([1.0, 0.0])[: len(directions)]

    def loss(at: Array) -> float:
        moved = np.tensordot(at, directions, axes=1)
        top = moved.max(axis=1)
        norm = top + np.log(np.exp(moved - top[:, None]).sum(axis=1))
        return float((norm - (moved * one_hot).sum(axis=1)).mean())

    for _ in range(100):
        p = _softmax(np.tensordot(parameters, directions, axes=1))
        gradient = (directions * (p - one_hot)).sum(axis=2).mean(axis=1)
        centred = directions - (directions * p).sum(axis=2, keepdims=True)
        curvature = np.einsum("inc,jnc,nc->ij", centred, centred, p) / len(z)
        step = np.linalg.solve(curvature + 1e-12 * np.eye(len(parameters)), gradient)
        rate, here = 1.0, loss(parameters)
        while rate > 1e-6:
            moved = parameters - rate * step
            moved[0] = np.clip(moved[0], 1 / _LARGEST_SCALE, _LARGEST_SCALE)
            if loss(moved) < here:
                break
            rate /= 2
        else:
            break
        parameters = moved
    return float(parameters[0]), float(parameters[1]) if shifted else 0.0


def fit_classes(
    logits: Array, truth: npt.NDArray[np.int64], *, shifted: bool
) -> tuple[Array, Array]:
    """As `fit`, of each class of a multilabel by itself. A class that all rows have, or none, says
    nothing, and stays as it is.

    Args:
        logits: [N, C].
        truth: 0 or 1 [N, C].
        shifted: Whether to fit shifts, too.

    Returns:
        Scales [C] and shifts [C].
    """
    fitted = [
        fit(logits[:, [index]], has, shifted=shifted) if has.min() < has.max() else (1.0, 0.0)
        for index, has in enumerate(truth.T)
    ]
    scales, shifts = zip(*fitted, strict=True)
    return np.array(scales), np.array(shifts)


def ece(probabilities: Array, truth: npt.NDArray[np.int64]) -> float:
    """Expected calibration error in 15 bins of equal width, weighted by their rows.

    Binary: how far the mean probability of the positive class in a bin is from the share of
    positives there. Multiclass: the same of the chosen class (Guo et al., equation 3). Multilabel:
    the mean over the classes.

    Args:
        probabilities: [N, 1] or [N, C].
        truth: Class ids [N], or 0 and 1 [N, C].
    """
    if truth.ndim == 2:
        return _mean_of_classes(ece, probabilities, truth)
    if probabilities.shape[1] == 1:
        said, came_true = probabilities[:, 0], truth == 1
    else:
        said, came_true = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, said - came_true, BINS)
    return float(np.abs(gaps).sum() / len(said))


def log_loss(probabilities: Array, truth: npt.NDArray[np.int64]) -> float:
    """Mean cross entropy of probabilities [N, 1] or [N, C], clipped as Keras clips them; of a
    multilabel, whose truth is [N, C], also over the classes."""
    if truth.ndim == 2:
        return _mean_of_classes(log_loss, probabilities, truth)
    p = probabilities
    if p.shape[1] == 1:
        p = np.concatenate([1 - p, p], axis=1)
    chosen = p[np.arange(len(truth)), truth]
    return float(-np.log(np.clip(chosen, _EPSILON, 1 - _EPSILON)).mean())


def _mean_of_classes(
    measure: Callable[[Array, npt.NDArray[np.int64]], float],
    probabilities: Array,
    truth: npt.NDArray[np.int64],
) -> float:
    values = [measure(probabilities[:, [index]], has) for index, has in enumerate(truth.T)]
    return float(np.mean(values))


def _shown(values: float | Array, form: str) -> str:
    """One number, or the range of those of several classes."""
    low, high = np.min(values), np.max(values)
    return f"{low:{form}}" if np.ndim(values) == 0 else f"{low:{form}} to {high:{form}}"


def _head(model: tf_keras.Model, label: LabelConfig) -> Any:
    import tf_keras

    last = model.layers[-1]
    wanted = "softmax" if label.task == "multiclass" else "sigmoid"
    is_head = (
        isinstance(last, tf_keras.layers.Dense)
        and tf_keras.activations.serialize(last.activation) == wanted
    )
    if is_head and last.use_bias:
        return last
    raise ConfigError(
        f"train.calibrate is folded into a last Dense layer with a bias and {wanted}, and the "
        f"model ends in {last.name!r} ({type(last).__name__})",
        where="model.builder",
        hint=f"End with Dense(config.outputs, {wanted!r}), or drop train.calibrate.",
    )


def _validation(
    model: tf_keras.Model, head: Any, split: Split
) -> tuple[Array, npt.NDArray[np.int64]]:
    """The head's logits of the rows, as many as fit, [N, outputs], in float64, and the class ids
    [N], or 0 and 1 [N, C]."""
    import tf_keras

    from trainer.input import all_batches

    below = tf_keras.Model(model.input, head.input)
    kernel, bias = (np.asarray(value, np.float64) for value in head.get_weights())
    logits, labels = [], []
    for features, label in all_batches(split):
        given = {name: features[name] for name in model.input_names}
        vectors = np.asarray(below(given, training=False), np.float64)
        logits.append(vectors @ kernel + bias)
        truth = label.numpy().astype(np.int64)
        labels.append(truth if truth.shape[1] > 1 else truth[:, 0])
        if sum(part.size for part in logits) >= _MOST_LOGITS:
            break
    return np.concatenate(logits), np.concatenate(labels)


def _probabilities(logits: Array, label: LabelConfig) -> Array:
    if label.task == "multilabel":
        of_class: Array = np.exp(-np.logaddexp(0.0, -logits))
        return of_class
    p = _softmax(_two_sided(logits))
    return p[:, 1:] if logits.shape[1] == 1 else p


def _two_sided(logits: Array) -> Array:
    """Logits of every class: those of a binary label beside zeros."""
    if logits.shape[1] > 1:
        return logits
    return np.concatenate([np.zeros_like(logits), logits], axis=1)


def _softmax(logits: Array) -> Array:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: Array = odds / odds.sum(axis=1, keepdims=True)
    return total
