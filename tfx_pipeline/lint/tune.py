"""Checks of the search space: fields that exist, values they take, rows to judge by."""

from __future__ import annotations

from collections.abc import Iterator

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.lint.losses import refusals
from tfx_pipeline.lint.registry import Problem, register
from trainer.tuning.metrics import metrics_of, objective_of
from trainer.tuning.space import WARMUP_HINT, fault_of_warmup, problems, variants


@register
def tune_space_fits(config: PipelineConfig) -> Iterator[Problem]:
    """Every field of the space exists, and takes the values of its range."""
    if config.tune is None:
        return
    for problem in problems(config.tune.space, config.model, config.train):
        yield Problem(f"tune.space.{problem.path}", problem.what, problem.hint)
    if config.tune.steps is not None and "train.steps" in config.tune.space:
        yield Problem(
            "tune.steps",
            "trials have this many steps, and train.steps is in the space as well",
            "drop one of them",
        )


@register
def tune_finds_what_the_trainer_takes(config: PipelineConfig) -> Iterator[Problem]:
    """No value of the space is one with which the Trainer would refuse to train."""
    if config.tune is None:
        return
    told = {error.headline for error in refusals(config, config.model, config.train)}
    for variant in variants(config.tune.space, config.model, config.train):
        for error in refusals(config, variant.model, variant.train):
            if error.headline not in told:
                told.add(error.headline)
                yield Problem(
                    f"tune.space.{variant.path}",
                    f"with {variant.value!r}: {error.headline}",
                    "take this value out of the range",
                )


@register
def tune_leaves_steps_after_the_warmup(config: PipelineConfig) -> Iterator[Problem]:
    """The learning rate of a trial, which has fewer steps than the Trainer, comes to its peak."""
    tune = config.tune
    if tune is None:
        return
    decides = [p for p in tune.space if p == "train.steps" or p.startswith("train.schedule")]
    if not decides and (fault := fault_of_warmup(tune, config.train)):
        yield Problem("tune", fault, WARMUP_HINT)
    for variant in variants(tune.space, config.model, config.train):
        if variant.path in decides and (fault := fault_of_warmup(tune, variant.train)):
            yield Problem(
                f"tune.space.{variant.path}", f"with {variant.value!r}: {fault}", WARMUP_HINT
            )


@register
def tune_can_judge(config: PipelineConfig) -> Iterator[Problem]:
    """Trials are judged on the validation split, by metrics that the label's task has."""
    tune = config.tune
    if tune is None:
        return
    if not config.data.split.has_val:
        yield Problem(
            "tune",
            "there is no validation split to judge the trials on",
            "set data.split.val_fraction, for instance to 0.1",
        )
    label = config.data.label
    task, known = label.task, metrics_of(label.task, label.quantiles)
    asked = {"tune.objective": [objective_of(tune.objective, task)]}
    asked["tune.budgets.metrics"] = list(tune.budgets.metrics)
    for field, metrics in asked.items():
        for metric in metrics:
            if metric not in known:
                yield Problem(
                    field,
                    f"a {task} label has no metric {metric!r}",
                    f"choose one of {', '.join(known) or 'none'}",
                )


@register
def tune_trains_as_the_trainer(config: PipelineConfig) -> Iterator[Problem]:
    """What trials find holds for a Trainer that trains as they do."""
    if config.tune is None:
        return
    if config.train.run_fn != type(config.train).model_fields["run_fn"].default:
        yield Problem(
            "tune",
            "the trials are trained by Assay's own run_fn, and train.run_fn is yours",
            "drop `tune`, or train.run_fn",
        )
    if config.train.strategy in ("multi_worker", "horovod"):
        yield Problem(
            "tune",
            f"a trial runs in one process, and train.strategy is {config.train.strategy}",
            "tune with `train.strategy: mirrored`, and write the best values into the config",
        )
