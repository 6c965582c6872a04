"""What a model is built from and trained on: the config's sections, the rows, the label's scale."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_pipeline.errors import ConfigError, DataError
from trainer.config import ModelConfig, TrainConfig
from trainer.selection import judges
from trainer.tuning.space import applied, tuned_values
from transform.config import TransformConfig

if TYPE_CHECKING:
    import tensorflow_transform as tft
    from tfx.components.trainer.fn_args_utils import FnArgs

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


def _is_gates(file: str) -> bool:
    """Whether a file belongs to the `eval` split (TFX's folder `Split-eval`)."""
    return os.path.basename(os.path.dirname(file)) == "Split-eval"
