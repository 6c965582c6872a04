"""A backbone of `tf_keras.applications` over the pixels, with weights where they are at hand."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfx_pipeline.errors import ConfigError
from trainer.models.encoders.config import ApplicationConfig

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.encoders.registry import Encoding

_WHERE = "model.image.application"
_NETWORK_TIMEOUT_S = 20.0


def encode(feature: Encoding) -> tf_keras.KerasTensor:
    """The backbone's features, averaged over the image: [N, channels].

    Its layers become layers of the model itself, since TF-MOT takes no model inside a model. What
    it expects of pixels (0 to 255, -1 to 1, BGR) is the work of a frozen 1x1 convolution in front,
    which also makes three channels of one.

    Raises:
        ConfigError: The weights cannot be had, or the backbone does not take such images.
    """
    import tf_keras

    config = feature.config.model.image.application or ApplicationConfig()
    trained = _trained(config, feature)
    scope = feature.scope
    kernel, bias = pixel_map(config.name, channels=int(feature.spec.shape[-1] or 3))
    expected = tf_keras.layers.Conv2D(3, 1, trainable=False, name=f"{scope}_as_expected")
    x = expected(feature.tensor)
    expected.set_weights([kernel, bias])
    backbone = _make(config, None, input_tensor=x)
    before = len(backbone.layers) - len(trained.layers) + 1  # What is not the backbone's: to `x`.
    pairs = zip(trained.layers[1:], backbone.layers[before:], strict=True)
    for index, (source, layer) in enumerate(pairs):
        layer.set_weights(source.get_weights())
        layer.trainable = config.trainable != "false"
        if config.trainable == "after_steps":
            layer.assay_frozen_steps = config.frozen_steps
        # Two columns of images have a backbone each. A name that Keras made up counts the models
        # of this process, and says nothing.
        own = layer.name == source.name
        layer._name = f"{scope}_{layer.name if own else f'layer_{index}'}"
    return backbone.output


def pixel_map(name: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """What a backbone's `preprocess_input` does to pixels of [0, 1], as a 1x1 convolution.

    All of them are affine: so 0 and the three unit colours tell everything.

    Returns:
        Kernel [1, 1, channels, 3] and bias [3].
    """
    import tf_keras

    builder = getattr(tf_keras.applications, name)
    preprocess = sys.modules[builder.__module__].preprocess_input
    colours = np.concatenate([np.zeros((1, 3)), np.eye(3)]).astype(np.float32)
    made = np.asarray(preprocess(255.0 * colours.reshape(4, 1, 1, 3))).reshape(4, 3)
    kernel = made[1:] - made[0]
    if channels == 1:
        kernel = kernel.sum(axis=0, keepdims=True)
    return kernel.reshape(1, 1, channels, 3), made[0]


def _trained(config: ApplicationConfig, feature: Encoding) -> tf_keras.Model:
    """The backbone on its own, with its weights."""
    shape = (*feature.spec.shape[:2], 3)
    if config.weights == "imagenet":
        return _of_imagenet(config, shape)
    backbone = _make(config, None, input_shape=shape)
    if config.weights == "none":
        return backbone
    path = feature.config.folder / Path(config.weights).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"there is no weights file {path}",
            where=f"{_WHERE}.weights",
            hint="Write `none`, `imagenet`, or a path relative to the config file.",
        )
    try:
        backbone.load_weights(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"the weights in {path} are not those of {config.name} without its top: "
            f"{str(error).splitlines()[0][:200]}",
            where=f"{_WHERE}.weights",
            hint=f"Save them with tf_keras.applications.{config.name}(include_top=False)"
            ".save_weights('weights.h5').",
        ) from error
    return backbone


def _of_imagenet(config: ApplicationConfig, shape: tuple[int | None, ...]) -> tf_keras.Model:
    _make(config, None, input_shape=shape)  # A shape it does not take is no matter of weights.
    try:
        with _bounded_network():
            return _make(config, "imagenet", input_shape=shape)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the ImageNet weights of {config.name} are not at hand: {error}",
            where=f"{_WHERE}.weights",
            hint="Keras looks in ~/.keras/models, then asks the "
            "network. Put the file of that URL there, under the name that it has, or beside "
            "the config file and set `weights: FILE.h5`; or set `weights: none`.",
        ) from error


@contextmanager
def _bounded_network() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _make(config: ApplicationConfig, weights: str | None, **given: object) -> tf_keras.Model:
    import tf_keras

    builder = getattr(tf_keras.applications, config.name)
    try:
        return builder(include_top=False, weights=weights, pooling="avg", **given)
    except ValueError as error:
        raise ConfigError(
            f"{config.name} does not take these images: {error}",
            where=f"{_WHERE}.name",
            hint="Raise height_px and width_px of the image column, or choose another backbone.",
        ) from error
