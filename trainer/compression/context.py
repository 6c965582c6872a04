"""What every compression method is given: the float parent's data and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.config import ModelConfig, TrainConfig
from trainer.input import Split
from trainer.models.build import LabelScale
from transform.config import TransformConfig
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    import tensorflow_transform as tft


@dataclass(frozen=True)
class Context:
    """One ladder's surroundings.

    Attributes:
        layout: The model's features.
        tft_output: The transform graph; None where no SavedModel is to be written (tests).
        transform: Features and label.
        model: The `model` section, for students.
        train: The `train` section: batch size, seed, strategy.
        scale: Of a label that is a number.
        train_split: Rows to fine-tune on.
        val_split: Rows to compare on, if there are any.
        strategy: Models are built and trained in its scope.
        rows: Transformed real rows, model inputs by name [N, ...]: representative data for
            quantizing, and what converted models are compared on.
        folder: Where user code's `file.py:function` starts from.
        seed: Of fine-tuning.
        tolerance: As in `CompressConfig`.
    """

    layout: Sequence[FeatureSpec]
    tft_output: tft.TFTransformOutput | None
    transform: TransformConfig
    model: ModelConfig
    train: TrainConfig
    scale: LabelScale
    train_split: Split
    val_split: Split | None
    strategy: tf.distribute.Strategy
    rows: Mapping[str, np.ndarray]
    folder: Path
    seed: int = 17
    tolerance: float = 1e-3
