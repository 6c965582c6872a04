"""The parts of the `train` section that regularize. Pydantic only."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from transform.section import Section


class CutoutConfig(Section):
    """A square of every training image is blacked out, at a random place (arXiv:1708.04552)."""

    size_px: int = Field(8, ge=1, description="Side of the square, in pixels.")
    share: float = Field(1.0, gt=0, le=1, description="Share of images that get one.")


class AdversarialConfig(Section):
    """Trains on rows moved, within `epsilon`, to where the loss is worst.

    Moved are images, series and single numbers, in the unit the network sees (deviations after
    `zscore`, 0 to 1 in an image); categories, text and one-hot numbers are not. At the end the
    accuracy on attacked validation rows is reported, in `model_run/robustness.json`.
    """

    attack: Literal["fgsm", "pgd"] = Field(
        "fgsm", description="`fgsm`: one step (arXiv:1412.6572); `pgd`: several (arXiv:1706.06083)."
    )
    epsilon: float = Field(0.03, gt=0, description="Most that a value is moved.")
    steps: int = Field(5, ge=1, le=100, description="Steps of pgd, each 2.5 * epsilon / steps.")
    share: float = Field(0.5, gt=0, le=1, description="Share of each batch's rows attacked.")
    features: list[str] | None = Field(
        None, description="Transformed features to move (`size_xf`); empty: all that can be."
    )
