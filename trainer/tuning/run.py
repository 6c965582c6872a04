"""`tuner_fn`: what the stock TFX Tuner calls to search for better values of the config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tfx_pipeline.errors import ConfigError
from trainer.loading import TrainerConfig
from trainer.tuning.config import TuneConfig
from trainer.tuning.metrics import metrics_of, objective_of
from trainer.tuning.objective import Objective
from trainer.tuning.space import problems

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs
    from tfx.components.tuner.component import TunerFnResult

    from trainer.tuning.tuner import ConfigTuner


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Makes the tuner that `fn_args.custom_config` describes.

    Trials are trained on `train_files` and judged on `eval_files`, unless these are the `eval`
    split: that one is the gate's, and the tuner does not look at it. With
    `eval_args.splits = ["val"]` the stock Tuner passes the right files.

    Args:
        fn_args: From the stock Tuner; `custom_config` holds `transform`, `model`, `train`, `tune`
            and `folder`. A search that was killed goes on when it is given the same
            `working_dir`, where it leaves `trials.json`, `trials.csv` and `trials.png`.

    Raises:
        ConfigError: The space does not fit the config.
    """
    from tfx.components.tuner.component import TunerFnResult

    tuner = make_tuner(
        fn_args.custom_config or {},
        transform_graph=fn_args.transform_graph_path,
        train_files=fn_args.train_files or [],
        val_files=fn_args.eval_files or [],
        folder=fn_args.working_dir,
    )
    return TunerFnResult(tuner=tuner, fit_kwargs={})


def make_tuner(
    custom_config: Mapping[str, Any],
    *,
    transform_graph: str,
    train_files: list[str],
    val_files: list[str],
    folder: str,
) -> ConfigTuner:
    """As `tuner_fn`, without TFX; `folder` is its `working_dir`.

    Raises:
        ConfigError: The space or the objective does not fit the config.
    """
    config = TrainerConfig.read(custom_config)
    tune = TuneConfig.model_validate(custom_config.get("tune") or {})
    for problem in problems(tune.space, config.model, config.train):
        where = f"tune.space.{problem.path}"
        raise ConfigError(problem.what, where=where, hint=problem.hint)
    label = config.transform.label
    task, known = label.task, metrics_of(label.task, label.quantiles)
    objective = Objective(objective_of(tune.objective, task), tune.budgets)
    for metric in (objective.metric, *tune.budgets.metrics):
        if metric not in known:
            raise ConfigError(
                f"a {task} label has no metric {metric!r}",
                where="tune.objective" if metric == objective.metric else "tune.budgets.metrics",
                hint=f"Choose one of {', '.join(known) or 'none'}.",
            )

    from trainer import strategy
    from trainer.tuning.oracles import make_oracle, own_values, search_space
    from trainer.tuning.trial import Setting
    from trainer.tuning.tuner import ConfigTuner
    from trainer.tuning.workers import Processes, ThisProcess

    os.makedirs(folder, exist_ok=True)
    if tune.parallel == 1:
        strategy.configure_devices(config.train)
    setting = Setting(dict(custom_config), transform_graph, train_files, val_files, folder)
    space = search_space(tune, config.model, config.train)
    own = own_values(space, tune, config.model, config.train)
    make_workers = (
        partial(Processes, setting, slots=tune.parallel)
        if tune.parallel > 1
        else partial(ThisProcess, setting)
    )
    return ConfigTuner(make_oracle(tune, objective, space, own), setting, objective, make_workers)
