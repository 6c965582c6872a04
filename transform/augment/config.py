"""The `train.augment` section of `pipeline.yaml`. Pydantic only."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from transform.section import FieldError, Section


class ImageAugmentConfig(Section):
    """Random changes of every image feature."""

    flip: Literal["horizontal", "vertical", "both"] | None = Field(
        None, description="Mirror half of the images in this direction."
    )
    crop: float = Field(
        0.0, ge=0, lt=1, description="Cut off up to this share of each side, and scale back."
    )
    rotate: float = Field(0.0, ge=0, le=180, description="Turn by up to this many degrees.")
    colour: float = Field(
        0.0, ge=0, lt=1, description="Change brightness, contrast and saturation by this share."
    )
    erase: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of images in which a rectangle of 2 to 20 % is filled with one random "
        "grey (arXiv:1708.04896).",
    )


class TextAugmentConfig(Section):
    """Random changes of every text feature, token by token."""

    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of tokens lost: unknown in a sequence, of weight 0 in a bag.",
    )
    swap: float = Field(
        0.0, ge=0, le=1, description="Share of neighbours in a sequence that change places."
    )
    synonyms: str | None = Field(
        None,
        description="File of synonyms, each line one set: `film, movie, picture`. In lower case, "
        "as the vocabulary; words that the vocabulary does not have are left out.",
    )
    synonym_share: float = Field(
        0.1, gt=0, le=1, description="Share of tokens with a synonym that become one."
    )


class TabularAugmentConfig(Section):
    """Random changes of numbers and categories."""

    noise: float = Field(
        0.0,
        ge=0,
        description="Deviation of normal noise added to single numbers, in the unit the network "
        "sees.",
    )
    swap: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of values, numbers and categories, taken from another row of the batch.",
    )


class AugmentConfig(Section):
    """Random changes of training batches; seeded, and never of what is evaluated or served."""

    image: ImageAugmentConfig | None = Field(None, description="Of image columns.")
    text: TextAugmentConfig | None = Field(None, description="Of text columns.")
    tabular: TabularAugmentConfig | None = Field(None, description="Of the other columns.")

    @model_validator(mode="after")
    def _something_is_changed(self) -> AugmentConfig:
        for name in ("image", "text", "tabular"):
            part = getattr(self, name)
            if part is not None and not part.model_dump(exclude_defaults=True):
                raise FieldError(f"nothing of `{name}` is changed; give one of its fields", name)
        return self
