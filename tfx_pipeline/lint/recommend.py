"""Checks that a recommender has items to learn, and their features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.lint.registry import Problem, register
from trainer.models import two_tower
from trainer.recommend.items import read_items


@register
def items_can_be_recommended(config: PipelineConfig) -> Iterator[Problem]:
    """What the Trainer would refuse after the data are transformed."""
    model, label = config.model, config.data.label
    if model.builder is not None or model.family != "two_tower":
        return
    if label.task != "multiclass":
        yield Problem(
            "model.family",
            f"two_tower learns which item is chosen, and the label is {label.task}",
            "make the item's id the label (task: multiclass), or rank by family: ranking",
        )
        return
    two_tower.check(config.train)
    sizes = model.two_tower
    if sizes is not None and sizes.items is not None:
        path = config.folder / Path(sizes.items).expanduser()
        read_items(path, label.classes, label.column)
