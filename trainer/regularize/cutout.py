"""Cutout (DeVries & Taylor, arXiv:1708.04552): a black square somewhere in every image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from trainer.regularize.config import CutoutConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transform.layout import FeatureSpec


def cut_out(
    features: Mapping[str, tf.Tensor],
    seed: tf.Tensor,
    config: CutoutConfig,
    layout: Sequence[FeatureSpec],
) -> dict[str, tf.Tensor]:
    """Every image with a square of zeros. Its middle is any pixel, so at the border a part of it
    is outside, as in the paper.

    Args:
        features: Model inputs [N, ...] by name.
        seed: int64 [2]; the places follow from it.
        config: The `train.cutout` section.
        layout: What the features are.
    """
    made = dict(features)
    for index, spec in enumerate(layout):
        if spec.kind == "image" and spec.name in features:
            own = tf.random.experimental.stateless_fold_in(seed, index)
            made[spec.name] = _cut(features[spec.name], own, config)
    return made


def _cut(images: tf.Tensor, seed: tf.Tensor, config: CutoutConfig) -> tf.Tensor:
    rows = tf.shape(images)[0]
    height, width = images.shape[1], images.shape[2]
    for_y, for_x, for_share = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    top = tf.random.stateless_uniform([rows, 1], for_y, 0, height, tf.int32) - config.size_px // 2
    left = tf.random.stateless_uniform([rows, 1], for_x, 0, width, tf.int32) - config.size_px // 2
    chosen = tf.random.stateless_uniform([rows, 1], for_share) < config.share
    y, x = tf.range(height)[tf.newaxis], tf.range(width)[tf.newaxis]
    in_y = tf.logical_and(y >= top, y < top + config.size_px) & chosen
    in_x = tf.logical_and(x >= left, x < left + config.size_px)
    hole = tf.logical_and(in_y[:, :, tf.newaxis], in_x[:, tf.newaxis, :])
    return tf.where(hole[..., tf.newaxis], tf.zeros_like(images), images)
