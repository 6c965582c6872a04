"""The `model.ensemble` section. Pydantic only, no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tfx_pipeline.errors import ConfigError
from transform.section import Section

if TYPE_CHECKING:
    from trainer.config import TrainConfig


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


def check_train(ensemble: EnsembleConfig, train: TrainConfig) -> None:
    """Checks, before anything runs, that the members can be trained so.

    Raises:
        ConfigError: Snapshots with a schedule or early stopping of the config's, or with fewer
            steps than members.
    """
    if ensemble.method != "snapshot":
        return
    taken = {
        "schedule": train.schedule.name != "constant" or train.schedule.warmup_steps > 0,
        "early_stopping": train.early_stopping is not None,
    }
    for field in (name for name, is_given in taken.items() if is_given):
        raise ConfigError(
            f"train.{field} does not go with model.ensemble.method: snapshot, whose members are "
            "the ends of cycles of its own",
            where=f"train.{field}",
            hint="Drop it.",
        )
    if train.steps < ensemble.members:
        raise ConfigError(
            f"train.steps {train.steps} do not divide into {ensemble.members} cycles",
            where="model.ensemble.members",
            hint="Raise train.steps, or take fewer members.",
        )
