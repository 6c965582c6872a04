"""The encoders by kind of feature and name, and what each one is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.models.encoders import (
    image_application,
    image_cnn,
    image_mobilenet,
    image_resnet,
    pretrained,
    series,
    tabular,
    text,
    text_transformer,
)
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.registry import BuildConfig


@dataclass(frozen=True)
class Encoding:
    """One feature that is to become a vector.

    Attributes:
        spec: What the feature is.
        scope: What the names of the encoder's layers begin with.
        tensor: The model's input of it, [N, *spec.shape].
        weights: The input of a bag's weights; None for other kinds.
        config: Sizes, head and regularization.
    """

    spec: FeatureSpec
    scope: str
    tensor: tf_keras.KerasTensor
    weights: tf_keras.KerasTensor | None
    config: BuildConfig


Encoder = Callable[[Encoding], "tf_keras.KerasTensor"]

IMAGE_ENCODERS: dict[str, Encoder] = {
    "cnn": image_cnn.encode,
    "resnet": image_resnet.encode,
    "mobilenet": image_mobilenet.encode,
    "application": image_application.encode,
}
TEXT_ENCODERS: dict[str, Encoder] = {
    "average": text.average,
    "cnn": text.cnn,
    "lstm": text.lstm,
    "gru": text.gru,
    "transformer": text_transformer.encode,
    "pretrained": pretrained.encode,
}
SERIES_ENCODERS: dict[str, Encoder] = {"cnn": series.cnn, "gru": series.gru}


def encode(feature: Encoding) -> tf_keras.KerasTensor:
    """The feature as float32 [N, n], by the encoder that the `model` section names for its kind."""
    match feature.spec.kind:
        case "dense":
            return tabular.dense(feature)
        case "bag":
            return tabular.bag(feature)
        case "ids":
            return tabular.ids(feature)
        case "image":
            return IMAGE_ENCODERS[feature.config.model.image.encoder](feature)
        case "sequence":
            return TEXT_ENCODERS[feature.config.model.text.encoder](feature)
        case "series":
            return SERIES_ENCODERS[feature.config.model.series.encoder](feature)
