"""The `model.ensemble` section. Pydantic only, no TensorFlow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from transform.section import Section


class EnsembleConfig(Section):
    """Several models of the same config whose answers are averaged, exported as one model."""

    method: Literal["average", "bagging", "snapshot"] = Field(
        "average",
        description="`average`: members of different seeds. `bagging`: each also on a draw of its "
        "own of the rows, with replacement. `snapshot`: one training of train.steps in cycles, of "
        "which each ends as a member (arXiv:1704.00109).",
    )
    members: int = Field(
        3, ge=2, le=64, description="Models. They are trained one after the other."
    )
