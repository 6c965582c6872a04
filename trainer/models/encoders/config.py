"""The parts of the `model` section that say how images, texts and series become vectors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from trainer.models.encoders.transformer_config import PretrainedConfig, TransformerConfig
from transform.section import FieldError, Section, Size


class ResnetConfig(Section):
    """A residual network (He et al. 2016), small enough for small images."""

    blocks: list[Size] = Field(
        [1, 1, 1],
        min_length=1,
        description="Residual blocks of each stage; every stage but the first halves the image.",
    )
    filters: int = Field(16, ge=1, description="Channels of the first stage; doubled in each.")


class MobilenetConfig(Section):
    """Inverted residuals with depthwise convolutions (MobileNetV2, Sandler et al. 2018)."""

    blocks: list[Size] = Field(
        [1, 2, 2],
        min_length=1,
        description="Inverted residuals of each stage; every stage but the first halves the image.",
    )
    filters: int = Field(16, ge=1, description="Channels of the first stage; doubled in each.")
    expansion: int = Field(4, ge=1, description="How much wider a block is inside.")


Backbone = Literal[
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2L",
    "EfficientNetV2M",
    "EfficientNetV2S",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "NASNetLarge",
    "NASNetMobile",
    "ResNet101",
    "ResNet101V2",
    "ResNet152",
    "ResNet152V2",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "VGG19",
    "Xception",
]


class ApplicationConfig(Section):
    """A backbone of `tf_keras.applications`, with weights of your own file or of ImageNet."""

    name: Backbone = Field("MobileNetV2", description="The backbone, as tf_keras names it.")
    weights: str = Field(
        "none",
        description="`none`: random; `imagenet`: from Keras's folder of models, or the network; "
        "else a weights file (.h5) without the top, relative to this config file.",
    )
    trainable: Literal["false", "true", "after_steps"] = Field(
        "true",
        description="Whether the backbone learns: not at all, from the start, or after "
        "`frozen_steps`, once what stands on it has learned to use it.",
    )
    frozen_steps: int = Field(
        200, ge=1, description="after_steps: steps before the backbone learns, in whole epochs."
    )

    @model_validator(mode="before")
    @classmethod
    def _yaml_reads_true_and_false(cls, given: object) -> object:
        if isinstance(given, dict) and isinstance(given.get("trainable"), bool):
            return {**given, "trainable": str(given["trainable"]).lower()}
        return given


class TextCnnConfig(Section):
    """Convolutions over the tokens, of several widths (Kim 2014)."""

    widths: list[Size] = Field([2, 3, 4], min_length=1, description="Tokens that a filter sees.")


class SeriesCnnConfig(Section):
    """Dilated convolutions over the steps."""

    layers: int = Field(
        3, ge=1, le=12, description="Convolutions; each looks twice as far as the one before."
    )
    width: int = Field(5, ge=2, description="Steps that a filter sees.")


class _EncoderConfig(Section):
    """Refuses the sizes of an encoder that is not the chosen one."""

    encoder: str

    @model_validator(mode="after")
    def _sizes_are_of_the_encoder(self) -> _EncoderConfig:
        for name in type(self).model_fields:
            given = getattr(self, name)
            # `assay pretrain` reads the sizes that its encoder is to have.
            is_made = (name, self.encoder) == ("transformer", "pretrained")
            if isinstance(given, Section) and name != self.encoder and not is_made:
                raise FieldError(f"`{name}` goes with `encoder: {name}`, not {self.encoder}", name)
        return self


class ImageEncoderConfig(_EncoderConfig):
    """How an image column becomes a vector."""

    encoder: Literal["cnn", "resnet", "mobilenet", "application"] = Field(
        "cnn", description="The network over the pixels."
    )
    resnet: ResnetConfig | None = Field(None, description="Sizes of `encoder: resnet`.")
    mobilenet: MobilenetConfig | None = Field(None, description="Sizes of `encoder: mobilenet`.")
    application: ApplicationConfig | None = Field(
        None, description="The backbone of `encoder: application`."
    )


class TextEncoderConfig(_EncoderConfig):
    """How a text column with `output: sequence` becomes a vector."""

    encoder: Literal["average", "cnn", "lstm", "gru", "transformer", "pretrained"] = Field(
        "average", description="The network over the tokens; lstm and gru read both ways."
    )
    embedding_dim: int = Field(64, ge=1, description="Length of a token's embedding, in floats.")
    units: int = Field(
        64, ge=1, description="cnn: filters of each width. lstm, gru: units each way."
    )
    cnn: TextCnnConfig | None = Field(None, description="Sizes of `encoder: cnn`.")
    transformer: TransformerConfig | None = Field(
        None, description="Sizes of `encoder: transformer`, and of what `assay pretrain` makes."
    )
    pretrained: PretrainedConfig | None = Field(
        None, description="The encoder of `encoder: pretrained`, and what of it learns."
    )

    @model_validator(mode="after")
    def _a_transformer_has_what_it_needs(self) -> TextEncoderConfig:
        if self.encoder == "pretrained" and self.pretrained is None:
            raise FieldError("`encoder: pretrained` needs `pretrained: {path: ...}`", "encoder")
        heads = (self.transformer or TransformerConfig()).heads
        if (self.transformer or self.encoder == "transformer") and self.embedding_dim % heads:
            raise FieldError(
                f"embedding_dim {self.embedding_dim} is not a multiple of transformer.heads "
                f"{heads}: every head takes an equal share",
                "embedding_dim",
            )
        return self


class SeriesEncoderConfig(_EncoderConfig):
    """How a column of series becomes a vector."""

    encoder: Literal["cnn", "gru"] = Field("cnn", description="The network over the steps.")
    units: int = Field(32, ge=1, description="Filters of each convolution, or units of the gru.")
    cnn: SeriesCnnConfig | None = Field(None, description="Sizes of `encoder: cnn`.")
