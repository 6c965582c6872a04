"""Mixup (Zhang et al., arXiv:1710.09412): training rows that are mixtures of two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from transform.config import LabelConfig
from transform.layout import FeatureSpec

# Columns of a mixed label of classes: one label, the other one, the share of the first.
PACKED = 3


def mixed(
    features: Mapping[str, tf.Tensor],
    label: tf.Tensor,
    seed: tf.Tensor,
    alpha: float,
    layout: Sequence[FeatureSpec],
    *,
    packed: bool,
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Mixes every row of a batch with another one, by a share from Beta(alpha, alpha).

    The share is the larger part, at least 0.5, for a pair is mixed either way. Numbers, images and
    series are mixed; of two bags of words both are there, by their shares. Ids (categories,
    sequences of words) cannot be mixed: they stay those of the row with the larger part.

    Args:
        features: Model inputs [N, ...] by name.
        label: [N, 1], or of a multilabel [N, C].
        seed: int64 [2]; the mixtures follow from it.
        alpha: Of the Beta distribution; small: most rows stay nearly as they are.
        layout: What the features are.
        packed: Whether the label is a class's id, of which there is no mixture: see `is_packed`.

    Returns:
        The features, and float32 labels: mixed values, shaped as `label`, or for ids [N, 3], which
        `of_packed` makes a loss for.
    """
    rows = tf.shape(label)[0]
    one, other, order = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    # In float64: for a small alpha most draws are below what float32 can hold.
    alphas = tf.constant(alpha, tf.float64)
    first = tf.random.stateless_gamma([rows], one, alphas, dtype=tf.float64)
    second = tf.random.stateless_gamma([rows], other, alphas, dtype=tf.float64)
    drawn = tf.where(first + second > 0, first / (first + second), tf.ones_like(first))
    share = tf.cast(tf.maximum(drawn, 1.0 - drawn), tf.float32)
    partner = tf.random.experimental.stateless_shuffle(tf.range(rows), order)

    made = dict(features)
    for spec in layout:
        if spec.name not in features:
            continue
        if spec.kind == "bag" and spec.weights is not None:
            ids, weights = features[spec.name], features[spec.weights]
            part = share[:, tf.newaxis]
            made[spec.name] = tf.concat([ids, tf.gather(ids, partner)], axis=1)
            others = (1.0 - part) * tf.gather(weights, partner)
            made[spec.weights] = tf.concat([part * weights, others], axis=1)
        elif spec.kind in ("dense", "image", "series"):
            made[spec.name] = _mix(features[spec.name], share, partner)
    if not packed:
        return made, _mix(tf.cast(label, tf.float32), share, partner)
    label = tf.cast(label, tf.float32)
    return made, tf.concat([label, tf.gather(label, partner), share[:, tf.newaxis]], axis=1)


def is_packed(label: LabelConfig) -> bool:
    """Whether two labels are packed side by side, and their losses mixed; a number, or what a
    multilabel says of each class, is mixed itself."""
    return label.task in ("binary", "multiclass")


def by_row(loss: Any) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A loss, as `Model.compile` takes it, as a function of labels and predictions to the loss of
    each row [N]."""
    found = tf_keras.losses.get(loss)
    return found.call if isinstance(found, tf_keras.losses.Loss) else found  # type: ignore[no-any-return]


def of_packed(loss: Any) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A loss of labels as `mixed` packs them, and of plain labels too.

    With cross entropy it is that of the soft label `share * one + (1 - share) * other`; it is
    defined for losses of hard labels alone (focal, weighted by class) all the same.

    Args:
        loss: As `Model.compile` takes it.

    Returns:
        Labels [N, 3] or [N, 1] and predictions to the loss of each row [N].
    """
    per_row = by_row(loss)

    def of(truth: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        if truth.shape[-1] != PACKED:
            return per_row(truth, predictions)
        one, other, share = tf.split(truth, PACKED, axis=1)
        share = share[:, 0]
        return share * per_row(one, predictions) + (1.0 - share) * per_row(other, predictions)

    of.takes_packed = True  # type: ignore[attr-defined]
    return of


def plain(label: tf.Tensor, loss: Any) -> tf.Tensor:
    """Labels as metrics take them: of one that is packed for this loss that of the larger share."""
    return label[:, :1] if getattr(loss, "takes_packed", False) else label


def _mix(values: tf.Tensor, share: tf.Tensor, partner: tf.Tensor) -> tf.Tensor:
    share = tf.reshape(share, [-1, *[1] * (values.shape.rank - 1)])
    return share * values + (1.0 - share) * tf.gather(values, partner)
