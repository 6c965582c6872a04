"""The sections of the recommendation families. Pydantic only, no TensorFlow."""

from __future__ import annotations

from pydantic import Field

from transform.section import Section, Size


class TwoTowerConfig(Section):
    """The towers of `family: two_tower`. The user's is `hidden_units` over all features."""

    dim: int = Field(32, ge=1, description="Length of a user's and an item's vector, in floats.")
    temperature: float = Field(
        0.1, gt=0, description="What scores are divided by: smaller, and the choice is sharper."
    )
    normalize: bool = Field(
        True, description="Scores are cosines: vectors of length 1. Else plain products."
    )
    log_q: bool = Field(
        True,
        description="Correct the loss for popular items being in the batch more often; without "
        "it they are recommended less than they are liked.",
    )
    items: str | None = Field(
        None,
        description="CSV file of the items' own features: their id in the column of the label's "
        "name, else in the first; the other columns are numbers or categories by their content. "
        "Empty: an item is its id alone.",
    )
    item_hidden_units: list[Size] = Field(
        [], description="Hidden layers over the items' own features, in units."
    )
    item_prior_rows: float = Field(
        10.0,
        ge=0,
        description="With `items`: how many rows weigh as much as what an item's features say; "
        "with more of them it may be something else. New items need it.",
    )


class RankingConfig(Section):
    """The interactions of `family: ranking`."""

    dim: int = Field(
        16, ge=1, description="Length of the vector that stands for a feature in products."
    )
