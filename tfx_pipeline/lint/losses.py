"""Checks of the loss and of calibration against the label and the split."""

from __future__ import annotations

from collections.abc import Iterator

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.lint.registry import Problem, register
from trainer import calibrate, losses


@register
def loss_fits_the_label(config: PipelineConfig) -> Iterator[Problem]:
    """What the Trainer would refuse minutes later: weights of a class that there is not, a loss
    of classes for a number, calibration without validation rows."""
    train, label = config.train, config.data.label
    try:
        losses.check(train, label)
        calibrate.check(train, label, config.data.split.has_val)
    except ConfigError as error:
        yield Problem(str(error.where), error.headline, str(error.hint or ""))
