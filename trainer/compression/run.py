"""`compress`: from what a Trainer left to a ladder of candidates; what the Compressor node calls.

The counterpart of `trainer.run.run_fn`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_pipeline.errors import NodeFailed
from trainer import progress
from trainer.compression.candidate import Candidate
from trainer.compression.config import CompressConfig, PostTrainingConfig
from trainer.run import TrainerConfig, label_scale, read_splits

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

log = logging.getLogger(__name__)

# Real rows that every conversion is compared on, beside those that show the range of activations.
_COMPARED_ROWS = 512


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
        custom_config: As `trainer.run.run_fn` takes it, and the dumped section `compress`.
        folder: Of the ladder.

    Returns:
        The ladder's rows, those that failed with their reason.

    Raises:
        NodeFailed: There is no model that could be compressed.
        ConfigError: The candidates' names or parents do not fit.
        DataError: The examples cannot be read.
        StorageError: The folder cannot be written.
    """
    config = TrainerConfig.read(custom_config)
    ladder = CompressConfig.model_validate(custom_config.get("compress") or {})

    import tensorflow_transform as tft

    from trainer import strategy
    from trainer.compression.context import Context
    from trainer.compression.ladder import make_ladder
    from trainer.input import first_rows
    from transform.layout import layout

    strategy.configure_devices(config.train)
    scope = strategy.make_strategy(config.train)
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
        train=config.train,
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
    """
    import tf_keras

    from transform.user_code import load

    if not keras_model.exists():
        raise NodeFailed(
            "the Trainer left no keras_model.h5, and compression starts from it",
            where=str(keras_model),
            hint="Call trainer.export.save_keras(model, os.path.join(fn_args.model_run_dir, "
            "'keras_model.h5')) in your train.run_fn, or set `compress: off`.",
        )
    if config.model.builder is not None:
        load(config.model.builder, config.folder)  # Registers the user's own layers.
    try:
        with scope.scope():
            return tf_keras.models.load_model(str(keras_model), compile=False)
    except Exception as error:
        raise NodeFailed(
            f"the trained model does not load: {type(error).__name__}: {str(error)[:200]}",
            where=str(keras_model),
            hint="Register your own layers with tf_keras.saving.register_keras_serializable.",
        ) from error


def _rows_needed(ladder: CompressConfig) -> int:
    if ladder.candidates == "auto":
        asked = [PostTrainingConfig().representative_rows]
    else:
        asked = [
            c.representative_rows for c in ladder.candidates if isinstance(c, PostTrainingConfig)
        ]
    return max([_COMPARED_ROWS, *asked])


def _told(candidate: Candidate, done: int, total: int) -> None:
    what = f"failed: {candidate.failed}" if candidate.failed else f"{candidate.seconds:.1f} s"
    log.info("candidate %s (%d of %d) %s", candidate.name, done, total, what)
    progress.report(progress.Stage(done, total, candidate.name))
