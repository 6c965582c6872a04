"""The parts of `model.text` that size a Transformer and say how a pretrained one is tuned.

Pydantic only, no TensorFlow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from transform.section import FieldError, Section

ADAPTER_UNITS = 16
LORA_RANK = 4


class TransformerConfig(Section):
    """A Transformer encoder (Vaswani et al. 2017) as wide as `embedding_dim`."""

    blocks: int = Field(2, ge=1, le=96, description="Transformer blocks.")
    heads: int = Field(4, ge=1, description="Attention heads of a block.")
    feedforward: float = Field(
        4.0, gt=0, description="Width of a block's dense layer, as a multiple of `embedding_dim`."
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of attention weights and units dropped in training."
    )


class PretrainedConfig(Section):
    """An encoder that has learned from other texts, and how much of it learns from these."""

    path: str = Field(
        min_length=1,
        description="Folder that `assay pretrain` wrote, Keras file (.h5, .keras) or SavedModel, "
        "relative to this config file, or the address of a model on TF-Hub. It maps ids [N, L] to "
        "[N, L, d] or [N, d]; beside it lies its `vocabulary.txt`.",
    )
    tune: Literal["full", "frozen", "adapters", "lora"] = Field(
        "full",
        description="What learns: every weight of the encoder; none; small layers put into its "
        "blocks (Houlsby et al. 2019); low-rank changes of its attention (Hu et al. 2021), which "
        "the exported model has in its kernels. The last two take a folder of `assay pretrain`.",
    )
    adapter_units: int | None = Field(
        None, ge=1, description=f"adapters: width inside an adapter ({ADAPTER_UNITS})."
    )
    lora_rank: int | None = Field(None, ge=1, description=f"lora: rank of a change ({LORA_RANK}).")
    learning_rate_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="full: learning rate of a block, as a share of that of the block above it; "
        "what stands on the encoder has 1 (Howard and Ruder 2018: 0.38).",
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="As in `transformer`; a frozen encoder drops nothing."
    )

    @model_validator(mode="after")
    def _fields_go_with_the_tuning(self) -> PretrainedConfig:
        for field, tune in (("adapter_units", "adapters"), ("lora_rank", "lora")):
            if getattr(self, field) is not None and self.tune != tune:
                raise FieldError(f"`{field}` goes with `tune: {tune}`, not {self.tune}", field)
        if self.learning_rate_decay < 1 and self.tune != "full":
            raise FieldError(
                f"`learning_rate_decay` goes with `tune: full`: with {self.tune} no block of the "
                "encoder learns",
                "learning_rate_decay",
            )
        return self
