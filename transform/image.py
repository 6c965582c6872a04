"""Encoded images, to pixels in [0, 1], decoded and resized in the graph."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from transform import raw
from transform.config import ImageFeature, feature_name


def features(
    inputs: Mapping[str, raw.RawColumn], columns: Mapping[str, ImageFeature]
) -> dict[str, tf.Tensor]:
    """`<column>_xf`, float32 `[N, height, width, channels]`, of every image column.

    A row without an image is black (zeros). Bytes that are no PNG, JPEG, BMP or GIF fail the
    batch with the decoder's message: a broken file is an error to see, not a black picture.
    """
    return {
        feature_name(name): pixels(raw.column(inputs, name, tf.string)[:, 0], feature)
        for name, feature in columns.items()
    }


def pixels(encoded: tf.Tensor, feature: ImageFeature) -> tf.Tensor:
    """Decodes and resizes (bilinear, antialiased; the aspect ratio is not kept).

    Args:
        encoded: string `[N]`; the empty string is a missing image.
        feature: Size and channels.

    Returns:
        float32 `[N, height, width, channels]` in [0, 1].
    """
    shape = (feature.height_px, feature.width_px, feature.channels)

    def one(data: tf.Tensor) -> tf.Tensor:
        # `tf.cond` and not `tf.where`: an empty string must not reach the decoder.
        return tf.cond(
            tf.equal(tf.strings.length(data), 0),
            lambda: tf.zeros(shape),
            lambda: _decode(data, feature),
        )

    images = tf.map_fn(one, encoded, fn_output_signature=tf.TensorSpec(shape, tf.float32))
    return tf.ensure_shape(images, [None, *shape])


def _decode(data: tf.Tensor, feature: ImageFeature) -> tf.Tensor:
    image = tf.io.decode_image(data, channels=feature.channels, expand_animations=False)
    image = tf.cast(image, tf.float32) / 255.0
    size = (feature.height_px, feature.width_px)
    resized = tf.image.resize(image, size, antialias=True)
    return tf.ensure_shape(tf.clip_by_value(resized, 0.0, 1.0), (*size, feature.channels))
