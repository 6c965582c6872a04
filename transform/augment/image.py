"""Random changes of images: mirrored, cut, turned, recoloured, partly erased."""

from __future__ import annotations

import math

import tensorflow as tf

from transform.augment.config import ImageAugmentConfig

_ERASED = (0.02, 0.2)  # Area of an erased rectangle, as a share of the image.
_RATIO = (0.3, 3.3)  # Its height by its width.
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


def changed(images: tf.Tensor, seed: tf.Tensor, config: ImageAugmentConfig) -> tf.Tensor:
    """Every image of a batch, changed in its own way.

    Args:
        images: float32 [N, height, width, channels] in [0, 1].
        seed: int64 [2]; the changes follow from it.
        config: What is changed.

    Returns:
        float32 of the same shape, in [0, 1].
    """
    place, colour, hole = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    if config.flip or config.crop or config.rotate:
        images = _moved(images, place, config)
    if config.colour:
        images = _recoloured(images, colour, config.colour)
    if config.erase:
        images = _erased(images, hole, config.erase)
    return images


def _moved(images: tf.Tensor, seed: tf.Tensor, config: ImageAugmentConfig) -> tf.Tensor:
    """Mirrors, cuts and turns in one projective transform, so that pixels are blurred once."""
    rows = tf.shape(images)[0]
    height, width = float(images.shape[1]), float(images.shape[2])
    for_x, for_y, for_size, for_shift, for_angle = tf.unstack(
        tf.random.experimental.stateless_split(seed, 5)
    )
    ones = tf.ones([rows])

    def mirror(own: tf.Tensor, wanted: bool) -> tf.Tensor:
        half = tf.random.stateless_uniform([rows], own) < 0.5
        return tf.where(half, -ones, ones) if wanted else ones

    x = mirror(for_x, config.flip in ("horizontal", "both"))
    y = mirror(for_y, config.flip in ("vertical", "both"))
    # The window that is kept: its share of either side, and how far its middle is from the image's.
    window = 1.0 - tf.random.stateless_uniform([rows], for_size, 0.0, config.crop)
    shift = tf.random.stateless_uniform([2, rows], for_shift, -0.5, 0.5) * (1.0 - window)
    angle = math.radians(config.rotate) * tf.random.stateless_uniform([rows], for_angle, -1.0, 1.0)
    cos, sin = tf.cos(angle) * window, tf.sin(angle) * window
    # From a place in the result to the place in the image that it is taken from: about the middle,
    # (x', y') = window * turn * mirror * (x, y) + shift.
    middle_x, middle_y = (width - 1.0) / 2.0, (height - 1.0) / 2.0
    a0, a1, b0, b1 = cos * x, -sin * y, sin * x, cos * y
    a2 = middle_x + shift[0] * width - a0 * middle_x - a1 * middle_y
    b2 = middle_y + shift[1] * height - b0 * middle_x - b1 * middle_y
    nothing = tf.zeros([rows])
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a0, a1, a2, b0, b1, b2, nothing, nothing], axis=1),
        output_shape=tf.constant(images.shape[1:3].as_list(), tf.int32),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    return tf.ensure_shape(moved, images.shape)


def _recoloured(images: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Saturation, contrast, brightness, each by a factor in 1 - strength .. 1 + strength."""
    factors = tf.random.stateless_uniform(
        [3, tf.shape(images)[0], 1, 1, 1], seed, 1.0 - strength, 1.0 + strength
    )
    if images.shape[3] == 3:
        grey = tf.reduce_sum(images * tf.constant(_GREY), axis=3, keepdims=True)
        images = grey + factors[0] * (images - grey)
    mean = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
    images = (mean + factors[1] * (images - mean)) * factors[2]
    return tf.clip_by_value(images, 0.0, 1.0)


def _erased(images: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    """A rectangle of one grey in a `share` of the images (Zhong et al., arXiv:1708.04896)."""
    rows = tf.shape(images)[0]
    height, width = images.shape[1], images.shape[2]
    for_share, for_area, for_ratio, for_y, for_x, for_grey = tf.unstack(
        tf.random.experimental.stateless_split(seed, 6)
    )
    chosen = tf.random.stateless_uniform([rows, 1], for_share) < share
    area = tf.random.stateless_uniform([rows, 1], for_area, *_ERASED) * height * width
    low, high = (math.log(ratio) for ratio in _RATIO)
    ratio = tf.exp(tf.random.stateless_uniform([rows, 1], for_ratio, low, high))
    of_y = tf.minimum(tf.sqrt(area * ratio), float(height))
    of_x = tf.minimum(tf.sqrt(area / ratio), float(width))
    top = tf.random.stateless_uniform([rows, 1], for_y) * (height - of_y)
    left = tf.random.stateless_uniform([rows, 1], for_x) * (width - of_x)
    y, x = tf.range(float(height))[tf.newaxis], tf.range(float(width))[tf.newaxis]
    in_y = tf.logical_and(y >= top, y < top + of_y) & chosen
    in_x = tf.logical_and(x >= left, x < left + of_x)
    hole = tf.logical_and(in_y[:, :, tf.newaxis], in_x[:, tf.newaxis, :])[..., tf.newaxis]
    grey = tf.random.stateless_uniform([rows, 1, 1, 1], for_grey)
    return tf.where(hole, grey, images)
