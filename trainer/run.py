"""`run_fn`: what the stock TFX Trainer calls to turn transformed examples into a served model."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_pipeline.errors import ConfigError, DataError
from trainer.config import ModelConfig, TrainConfig
from trainer.selection import judges
from trainer.tuning.space import applied, tuned_values
from transform.config import TransformConfig

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_transform as tft
    import tf_keras
    from tfx.components.trainer.fn_args_utils import FnArgs

    from trainer.ensemble import Member
    from trainer.input import Split
    from trainer.models.build import LabelScale
    from transform.layout import FeatureSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainerConfig:
    """What the Trainer is given, as its `custom_config`."""

    transform: TransformConfig
    model: ModelConfig
    train: TrainConfig
    folder: Path

    @classmethod
    def read(
        cls,
        custom_config: Mapping[str, Any] | None,
        hyperparameters: Mapping[str, Any] | None = None,
    ) -> TrainerConfig:
        """Reads the dumped sections; `folder` is where `file.py:function` starts from.

        Args:
            custom_config: Of the Trainer.
            hyperparameters: What a Tuner found, as `kt.HyperParameters.get_config` gives it: its
                values take the places of the config's. None: there is no Tuner.

        Raises:
            ConfigError: `transform` is missing, or the config does not take the hyperparameters.
        """
        given = custom_config or {}
        if "transform" not in given:
            raise ConfigError(
                "the Trainer's custom_config has no `transform`",
                hint="Pass custom_config={'transform': ..., 'model': ..., 'train': ...}, the "
                "dumped sections of a PipelineConfig.",
            )
        model = ModelConfig.model_validate(given.get("model") or {})
        train = TrainConfig.model_validate(given.get("train") or {})
        values = tuned_values(hyperparameters)
        if values:
            log.info("tuned: %s", ", ".join(f"{path} {value}" for path, value in values.items()))
            model, train = applied(values, model, train)
        return cls(
            TransformConfig.model_validate(given["transform"]),
            model,
            train,
            Path(given.get("folder") or "."),
        )


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


@dataclass(frozen=True)
class Loaded:
    """What a model is built from and trained on.

    Attributes:
        tft_output: Of Transform.
        features: The layout of the transformed features.
        train_split: Rows to learn from.
        val_split: Rows for validation, or None.
        scale: Of the label.
    """

    tft_output: tft.TFTransformOutput
    features: list[FeatureSpec]
    train_split: Split
    val_split: Split | None
    scale: LabelScale


def load(fn_args: FnArgs, config: TrainerConfig) -> Loaded:
    """Reads what `fn_args` names, and checks what can be checked before a model is built.

    Raises:
        ConfigError, DataError: As `read_splits`; loss or calibration does not fit the label.
    """
    import tensorflow_transform as tft

    from trainer import calibrate, ensemble, losses
    from trainer.models.encoders.pretrained import check_words
    from transform.layout import layout

    tft_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    features = layout(config.transform, tft_output)
    check_words(config.model, config.transform, tft_output, config.folder)
    train_split, val_split = read_splits(
        fn_args.train_files or [],
        fn_args.eval_files or [],
        config,
        features,
        tft_output.transformed_feature_spec(),
    )
    losses.check(config.train, config.transform.label)
    calibrate.check(config.train, config.transform.label, val_split)
    if config.model.ensemble is not None:
        ensemble.check(config.model.ensemble, config.train, train_split)
    return Loaded(tft_output, features, train_split, val_split, label_scale(config, train_split))


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


def read_splits(
    train_patterns: Sequence[str],
    eval_patterns: Sequence[str],
    config: TrainerConfig,
    layout: list[FeatureSpec],
    spec: Mapping[str, Any],
) -> tuple[Split, Split | None]:
    """The training split and the validation split, if there is one.

    Args:
        train_patterns: Of the training files, as TFX gives them.
        eval_patterns: Of the validation files; training files and those of the gate's split
            `eval` among them are left out.
        config: Early stopping needs validation rows.
        layout: The features.
        spec: `tf.io.parse_example` spec of the transformed examples.

    Raises:
        DataError: There are no training files, or they cannot be read.
        ConfigError: Early stopping without validation rows, or a user's preprocessing_fn makes a
            label of another width.
    """
    from trainer.input import expand, read
    from trainer.records import check_label_width

    train = config.train
    check_label_width(spec, config.transform)
    train_files = expand(train_patterns)
    if not train_files:
        raise DataError(
            "there are no training files",
            where=", ".join(train_patterns) or "train_files",
            hint="Run again from Transform: `assay run --from Transform`.",
        )
    train_split = read("train", train_files, layout, spec, cache_max_mb=train.cache_max_mb)
    others = set(expand(eval_patterns)) - set(train_files)
    val_files = sorted(file for file in others if not _is_gates(file))
    if val_files:
        val = read("val", val_files, layout, spec, cache_max_mb=train.cache_max_mb)
        return train_split, val
    if judges(train):
        field = "train.early_stopping" if train.early_stopping else "train.keep: best"
        raise ConfigError(
            f"{field} needs a validation split, and there is none",
            where=field.partition(":")[0],
            hint="Set data.split.val_fraction above 0 (or provide a `val` split), or drop "
            f"{field}. The eval split is the gate's and is not looked at.",
        )
    return train_split, None


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


def _is_gates(file: str) -> bool:
    """Whether a file belongs to the `eval` split (TFX's folder `Split-eval`)."""
    return os.path.basename(os.path.dirname(file)) == "Split-eval"


def label_scale(config: TrainerConfig, split: Split) -> LabelScale:
    """Mean and deviation of a label that is a number on the training rows, or weights of the
    classes."""
    from trainer import losses
    from trainer.models.build import LabelScale

    label, weights = config.transform.label, config.train.class_weights
    if not label.is_value:
        if weights is None:
            return LabelScale()
        counts = losses.class_counts(split, len(losses.class_names(label)))
        return LabelScale(class_weights=losses.class_weights(weights, label, counts))
    from trainer.input import label_moments

    mean, std = label_moments(split)
    return LabelScale(mean, std or 1.0)


@contextmanager
def _timed(phase: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - start
