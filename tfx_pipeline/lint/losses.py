"""Checks of the training against the label, the split and the ensemble."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.lint.registry import Problem, register
from trainer import calibrate, ensemble_config, losses, selection
from trainer.config import ModelConfig, TrainConfig


@register
def training_fits(config: PipelineConfig) -> Iterator[Problem]:
    """What the Trainer would refuse minutes later: see `refusals`."""
    for error in refusals(config, config.model, config.train):
        yield Problem(str(error.where), error.headline, str(error.hint or ""))


def refusals(
    config: PipelineConfig, model: ModelConfig, train: TrainConfig
) -> Iterator[ConfigError]:
    """Weights of a class that there is not, a loss of classes for a number, calibration without
    validation rows, a metric that the label's task has not, members that cannot be trained so.

    Args:
        config: Of which the label and the split are.
        model: Its section, or that of a trial.
        train: Likewise.
    """
    label = config.data.label
    checks: list[Callable[[], None]] = [
        partial(losses.check, train, label),
        partial(calibrate.check, train, label, config.data.split.has_val),
        partial(selection.check, train, label),
    ]
    if model.ensemble is not None:
        checks.append(partial(ensemble_config.check_train, model.ensemble, train))
    for check in checks:
        try:
            check()
        except ConfigError as error:
            yield error
