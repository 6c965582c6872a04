"""The `model` section of `pipeline.yaml`. Pydantic only, no TensorFlow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from trainer.ensemble_config import EnsembleConfig
from trainer.models.encoders.config import (
    ImageEncoderConfig,
    SeriesEncoderConfig,
    TextEncoderConfig,
)
from trainer.recommend.config import RankingConfig, TwoTowerConfig
from transform.section import FieldError, Section, Size

Family = Literal[
    "dnn", "linear", "wide_deep", "dcn", "residual", "attention", "ranking", "two_tower"
]


class DcnConfig(Section):
    """The cross network of `family: dcn`."""

    cross_layers: int = Field(
        3, ge=1, le=16, description="Each one raises the degree of the interactions by one."
    )
    rank: int = Field(
        0, ge=0, description="Rank of the cross layers' matrices; 0: full, as wide as the features."
    )
    structure: Literal["stacked", "parallel"] = Field(
        "stacked", description="`hidden_units` behind the cross network, or beside it."
    )


class ResidualConfig(Section):
    """The blocks of `family: residual`."""

    blocks: int = Field(3, ge=1, le=64, description="Residual blocks of two dense layers.")
    units: int = Field(128, ge=1, description="Width of what the blocks add to, in units.")
    expansion: float = Field(
        2.0, gt=0, description="Width of a block's inner layer, as a multiple of `units`."
    )


class AttentionConfig(Section):
    """The transformer of `family: attention`."""

    blocks: int = Field(2, ge=1, le=64, description="Transformer blocks.")
    heads: int = Field(4, ge=1, description="Attention heads of a block.")
    token_dim: int = Field(32, ge=1, description="Length of a feature's token, in floats.")
    feedforward: float = Field(
        2.0, gt=0, description="Width of a block's dense layer, as a multiple of `token_dim`."
    )

    @model_validator(mode="after")
    def _heads_share_the_token(self) -> AttentionConfig:
        if self.token_dim % self.heads:
            raise ValueError(
                f"token_dim {self.token_dim} is not a multiple of heads {self.heads}: every head "
                "takes an equal share"
            )
        return self


# The sections that only one family has: section to family.
OF_A_FAMILY = {name: name for name in ("dcn", "residual", "attention", "ranking", "two_tower")}


class ModelConfig(Section):
    """The network. `builder` replaces it whole with a function of the user's."""

    family: Family = Field("dnn", description="Model family (docs/models.md says which for what).")
    hidden_units: list[Size] = Field(
        [128, 64],
        min_length=1,
        description="Width of each hidden layer of dnn, wide_deep, dcn, ranking and of two_tower's "
        "user tower, in units.",
    )
    activation: Literal["relu", "gelu", "swish", "selu", "elu", "tanh"] = Field(
        "relu", description="Activation of hidden layers."
    )
    normalization: Literal["auto", "none", "batch", "layer"] = Field(
        "auto",
        description="Normalization in hidden layers. `auto`: batch for residual, layer for "
        "attention, none for the others.",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of units dropped in training.")
    embedding_max_dim: int = Field(
        16, ge=1, description="Longest embedding of a categorical feature, in floats."
    )
    dcn: DcnConfig | None = Field(None, description="For `family: dcn`; empty: its defaults.")
    residual: ResidualConfig | None = Field(
        None, description="For `family: residual`; empty: its defaults."
    )
    attention: AttentionConfig | None = Field(
        None, description="For `family: attention`; empty: its defaults."
    )
    ranking: RankingConfig | None = Field(
        None, description="For `family: ranking`; empty: its defaults."
    )
    two_tower: TwoTowerConfig | None = Field(
        None, description="For `family: two_tower`; empty: its defaults."
    )
    image: ImageEncoderConfig = Field(
        ImageEncoderConfig(), description="How image columns become vectors."
    )
    text: TextEncoderConfig = Field(
        TextEncoderConfig(), description="How text columns with `output: sequence` become vectors."
    )
    series: SeriesEncoderConfig = Field(
        SeriesEncoderConfig(), description="How columns of series become vectors."
    )
    ensemble: EnsembleConfig | None = Field(
        None, description="Average several models of this config; empty: one model."
    )
    builder: str | None = Field(
        None,
        description="Your own build_model(features, config): import path or file.py:function.",
    )

    @property
    def hidden_units_shape_it(self) -> bool:
        """Whether `hidden_units` say how large the network is; of a user's builder unknown."""
        return self.builder is None and self.family in (
            "dnn",
            "wide_deep",
            "dcn",
            "ranking",
        )

    @model_validator(mode="after")
    def _sections_belong_to_the_family(self) -> ModelConfig:
        for section, family in OF_A_FAMILY.items():
            if getattr(self, section) is not None and self.family != family:
                raise FieldError(
                    f"`{section}` is of `family: {family}`, and the family is {self.family}; set "
                    f"`family: {family}` or drop `{section}`",
                    section,
                )
        if self.family == "attention" and self.normalization in ("none", "batch"):
            raise FieldError(
                "the blocks of `family: attention` normalize by layer; drop "
                f"`normalization: {self.normalization}`",
                "normalization",
            )
        return self
