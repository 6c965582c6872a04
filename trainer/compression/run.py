"""`compress`: from what a Trainer left to a ladder of candidates; what the Compressor node calls.

The counterpart of `trainer.run.run_fn`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_pipeline.errors import ConfigError, NodeFailed
from trainer import progress
from trainer.compression.candidate import Candidate
from trainer.compression.config import CompressConfig, PostTrainingConfig
from trainer.loading import TrainerConfig, label_scale, read_splits

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

log = logging.getLogger(__name__)

# The least rows that training for int8 takes its first ranges from.
_LEAST_ROWS = 512


def compress(
    *,
    keras_model: Path,
    transform_graph: str,
    train_files: Sequence[str],
    val_files: Sequence[str],
    custom_config: Mapping[str, Any],
    folder: Path,
) -> list[Candidate]:
    """Makes every candidate that `compress` asks for, each in a folder of its own.

    Args:
        keras_model: `keras_model.h5`: from transformed features to predictions.
        transform_graph: Folder of the TransformGraph.
        train_files: Patterns of the transformed examples to fine-tune on.
        val_files: Those to compare on; may be empty.
        custom_config: As `trainer.run.run_fn` takes it, and the dumped section `compress`; perhaps
            `hyperparameters`, as `run_fn` is given them.
        folder: Of the ladder.

    Returns:
        The ladder's rows, those that failed with their reason.

    Raises:
        NodeFailed: There is no model that could be compressed.
        ConfigError: The candidates' names or parents do not fit, or the strategy is multi_worker.
        DataError: The examples cannot be read.
        StorageError: The folder cannot be written.
    """
    config = TrainerConfig.read(custom_config, custom_config.get("hyperparameters"))
    if config.train.strategy == "multi_worker":
        # Every step of fine-tuning would wait for workers that run no Compressor.
        raise ConfigError(
            "train.strategy is multi_worker, and compression runs in one process",
            where="train.strategy",
            hint="Set `compress: off`, or train with `train.strategy: mirrored`.",
        )
    ladder = CompressConfig.model_validate(custom_config.get("compress") or {})

    import tensorflow_transform as tft

    from trainer import strategy
    from trainer.compression.context import Context
    from trainer.compression.ladder import make_ladder
    from trainer.input import first_rows
    from transform.layout import layout

    strategy.configure_devices(config.train)
    scope = strategy.make_strategy(config.train)
    config = replace(config, train=strategy.scaled(config.train, scope.num_replicas_in_sync))
    tft_output = tft.TFTransformOutput(transform_graph)
    features = layout(config.transform, tft_output)
    train_split, val_split = read_splits(
        train_files, val_files, config, features, tft_output.transformed_feature_spec()
    )
    context = Context(
        layout=features,
        tft_output=tft_output,
        transform=config.transform,
        model=config.model,
        # What is compressed is float32, and students are too.
        train=config.train.model_copy(update={"precision": "float32"}),
        scale=label_scale(config, train_split),
        train_split=train_split,
        val_split=val_split,
        strategy=scope,
        rows=first_rows(train_split, _rows_needed(ladder)),
        folder=config.folder,
        seed=ladder.seed,
        tolerance=ladder.tolerance,
    )
    return make_ladder(load_parent(keras_model, config, scope), ladder, context, folder, _told)


def load_parent(
    keras_model: Path, config: TrainerConfig, scope: tf.distribute.Strategy
) -> tf_keras.Model:
    """The trained model, its variables made in the strategy's scope.

    Raises:
        NodeFailed: The Trainer left none (it ran a `run_fn` of the user's), or it does not load.
        ConfigError: The user's builder or `run_fn` cannot be imported.
    """
    from trainer.keras_model import load_keras

    if not keras_model.exists():
        raise NodeFailed(
            "the Trainer left no keras_model.h5, and compression starts from it",
            where=str(keras_model),
            hint="Call trainer.export.save_keras(model, os.path.join(fn_args.model_run_dir, "
            "'keras_model.h5')) in your train.run_fn, or set `compress: off`.",
        )
    with scope.scope():
        return load_keras(keras_model, [config.model.builder, config.train.run_fn], config.folder)


def _rows_needed(ladder: CompressConfig) -> int:
    """Those that a calibration sees, and behind them those to compare on without a val split."""
    from trainer.compression.convert import COMPARED_ROWS

    if ladder.candidates == "auto":
        asked = [PostTrainingConfig().representative_rows]
    else:
        asked = [
            c.representative_rows for c in ladder.candidates if isinstance(c, PostTrainingConfig)
        ]
    return max([_LEAST_ROWS, *(rows + COMPARED_ROWS for rows in asked)])


def _told(candidate: Candidate, done: int, total: int) -> None:
    what = f"failed: {candidate.failed}" if candidate.failed else f"{candidate.seconds:.1f} s"
    log.info("candidate %s (%d of %d) %s", candidate.name, done, total, what)
    progress.report(progress.Stage(done, total, candidate.name))
