"""The `model` section of `pipeline.yaml`. Pydantic only, no TensorFlow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.models.encoders.config import ImageEncoderConfig
from transform.section import Section


class ModelConfig(Section):
    """The network. `builder` replaces it whole with a function of the user's."""

    family: Literal["dnn"] = Field("dnn", description="Model family (trainer/models).")
    hidden_units: list[int] = Field(
        [128, 64], min_length=1, description="Width of each hidden layer, in units."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of units dropped in training.")
    embedding_max_dim: int = Field(
        16, ge=1, description="Longest embedding of a categorical feature, in floats."
    )
    image: ImageEncoderConfig = Field(
        ImageEncoderConfig(), description="How image columns become vectors."
    )
    builder: str | None = Field(
        None,
        description="Your own build_model(features, config): import path or file.py:function.",
    )
