"""`run_fn`: what the stock TFX Trainer calls to turn transformed examples into a served model."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainer.config import TrainConfig
from trainer.loading import Loaded, TrainerConfig, load
from trainer.tuning.space import tuned_values

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras
    from tfx.components.trainer.fn_args_utils import FnArgs

    from trainer.ensemble import Member

log = logging.getLogger(__name__)


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports the model that `fn_args.custom_config` describes.

    `eval_files` are used for validation and early stopping, unless they are the `eval` split:
    that one is the gate's, and the trainer does not look at it. With `eval_args.splits = ["val"]`
    the stock Trainer passes the right files.

    A run that was killed goes on after its last epoch when it is called again with the same
    `fn_args`, and ends with the weights of an undisturbed one. A run that raised starts over: when
    an executor raises, TFX removes its outputs, and the checkpoints with `model_run_dir`. (TFX's
    stateful working directory would be no better place: without an orchestrator that stores its
    index, every execution has a new one, and `fn_args` do not name it.)

    Args:
        fn_args: From the stock Trainer; `custom_config` holds `transform`, `model`, `train` and
            `folder`, and `hyperparameters` what a Tuner found, if there is one. Writes
            `serving_model_dir` (SavedModel) and, in `model_run_dir`, `keras_model.h5`,
            `checkpoints/` and TensorBoard's event files.

    Raises:
        ConfigError, DataError, NodeFailed, EnvironmentMismatch, StorageError: See the modules.
    """
    config = TrainerConfig.read(fn_args.custom_config, fn_args.hyperparameters)

    from trainer import ensemble, export, strategy

    strategy.configure_devices(config.train)
    seconds: dict[str, float] = {}
    with _timed("load", seconds):
        scope = strategy.make_strategy(config.train)
        config = replace(config, train=strategy.scaled(config.train, scope.num_replicas_in_sync))
        data = load(fn_args, config)
    run_dir = own_run_dir(fn_args.model_run_dir.rstrip("/"), scope)
    made_by = _made_by(fn_args, config.train)

    def train(member: Member) -> tf_keras.Model:
        own = replace(config, train=member.train)
        return train_member(own, data, member, made_by, seconds, scope, f"{run_dir}.last_good")

    def finish(model: tf_keras.Model) -> tf_keras.Model | None:
        return finished(config, data, model, seconds) if is_chief else None

    is_chief = strategy.is_chief(scope)
    rows = data.train_split, run_dir, data.scale
    model = ensemble.trained(config.model.ensemble, config.train, *rows, train, finish)
    if model is None:
        return
    if config.train.adversarial:
        from trainer.regularize.robustness import report_robustness

        with _timed("attack", seconds):
            given = config.train, config.transform.label, data.scale, data.features
            report_robustness(model, *given, data.val_split, run_dir)
    with _timed("export", seconds):
        export.save_keras(model, os.path.join(run_dir, "keras_model.h5"))
        export.export(
            model, data.tft_output, data.features, config.transform, fn_args.serving_model_dir
        )
    phases = ", ".join(f"{phase} {value:.2f}" for phase, value in seconds.items())
    log.info("trained %d rows in seconds: %s", data.train_split.rows, phases)


def train_member(
    config: TrainerConfig,
    data: Loaded,
    member: Member,
    made_by: Mapping[str, Any],
    seconds: dict[str, float],
    scope: tf.distribute.Strategy,
    last_good: str,
) -> tf_keras.Model:
    """Builds a model and trains it, or takes it from its checkpoints.

    Args:
        config: With the member's own `train` section.
        data: From `load`.
        member: What is trained.
        made_by: What the training follows from.
        seconds: Of each phase, added to.
        scope: The strategy that it is trained under.
        last_good: As in `fit`.

    Returns:
        The trained model. Where several workers trained it, each has one that needs no other
        worker to be read.
    """
    from trainer import fit, strategy
    from trainer.regularize.batches import preparation

    with scope.scope(), strategy.watching_workers():
        with _timed("build", seconds):
            model = build_compiled(config, data)
            if member.start is not None:
                model.set_weights(member.start)
        with _timed("fit", seconds):
            prepare = preparation(
                config.train, config.transform, data.features, data.tft_output, config.folder
            )
            splits = member.split, data.val_split
            given = config.train, *splits, member.run_dir, made_by
            fit.fit(model, *given, prepare=prepare, last_good=last_good)
        if not strategy.of_several_workers():
            return model
        # A collective, while all are here: of batch normalization's moments each worker holds its
        # own, and whoever reads them waits for the others'.
        weights = model.get_weights()
    local = _built(config, data)
    local.set_weights(weights)
    return local


def finished(
    config: TrainerConfig,
    data: Loaded,
    model: tf_keras.Model,
    seconds: dict[str, float],
) -> tf_keras.Model:
    """A trained model in the form it is exported in, calibrated where that is asked for."""
    from trainer import calibrate

    model = as_served(config, data, model)
    with _timed("calibrate", seconds):
        calibrate.calibrate(model, config.train, config.transform.label, data.val_split)
    return model


def as_served(config: TrainerConfig, data: Loaded, model: tf_keras.Model) -> tf_keras.Model:
    """A trained model in the form it is exported in: what only training needs is gone from it.

    Args:
        config: What it was built from.
        data: From `load`.
        model: From model inputs to what it was trained to give.

    Returns:
        A float32 model, from the same inputs to predictions [N, 1] or [N, C]; LoRA's changes are
        in the kernels, and a recommender scores its whole catalog.
    """
    from trainer import adapters, precision
    from trainer.models.registry import served

    if plain := adapters.without_lora(config.model):
        model = adapters.merged(model, _built(replace(config, model=plain), data))
    return precision.as_float32(served(model, config.model))


def build_compiled(config: TrainerConfig, data: Loaded) -> tf_keras.Model:
    """Builds and compiles the model, in the scope of the strategy it trains under.

    Raises:
        ConfigError, NodeFailed: As `build`; `train.best_metric` does not fit the label, or
            `train.calibrate` a user's model.
    """
    from trainer import adapters, calibrate, fit, layer_rates, selection
    from trainer.models.registry import family_loss

    train, label = config.train, config.transform.label
    metrics = selection.metrics(train, label)
    model = _built(config, data)
    if config.model.builder:
        calibrate.check_head(model, train, label)
    loss = family_loss(model, config.model, train, label, data.train_split)
    fit.compile_model(model, train, label, data.scale, loss, metrics=metrics)
    layer_rates.apply(model)
    log.info("%s", adapters.learning(model))
    return model


def _built(config: TrainerConfig, data: Loaded) -> tf_keras.Model:
    """The model as the seed starts it."""
    import tf_keras

    from trainer.input import first_rows
    from trainer.models.build import build

    tf_keras.utils.set_random_seed(config.train.seed)
    rows = first_rows(data.train_split) if config.model.builder else None
    given = config.train, config.transform.label, data.scale, config.folder, rows
    return build(data.features, config.model, *given)


def own_run_dir(run_dir: str, scope: tf.distribute.Strategy) -> str:
    """Where this process keeps checkpoints and logs. Every worker has to save, because saving
    synchronizes them, and each goes on from its own; only the chief's are kept in the end."""
    from trainer import strategy

    if strategy.is_chief(scope):
        return run_dir
    return os.path.join(run_dir, f"worker-{scope.cluster_resolver.task_id}")


def _made_by(fn_args: FnArgs, train: TrainConfig) -> dict[str, Any]:
    """What the weights follow from: config (also as it is on this number of replicas), the user's
    code (by fingerprint), data."""
    return {
        "scaled": [train.batch_size, train.learning_rate],
        "custom_config": fn_args.custom_config,
        "tuned": tuned_values(fn_args.hyperparameters),
        "transform_graph": fn_args.transform_graph_path,
        "files": [list(fn_args.train_files or []), list(fn_args.eval_files or [])],
    }


@contextmanager
def _timed(phase: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - start
