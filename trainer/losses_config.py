"""The fields of the `train` section that say what is minimized. Pydantic only, no TensorFlow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from transform.section import Section

ClassWeights = Literal["balanced"] | dict[str, float]


class FocalConfig(Section):
    """The focal loss: rows that are answered right count less."""

    gamma: float = Field(
        2.0, ge=0, description="How much less; 0 is the usual cross entropy, of all rows alike."
    )
    alpha: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Weight of the positive class of a binary label, the other has 1 - alpha; "
        "empty: both count alike.",
    )
