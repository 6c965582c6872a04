"""The model families by name, and the contract that each one's `build_model` fulfils."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trainer.config import ModelConfig
from trainer.models import attention, dcn, dnn, linear, residual, wide_deep
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class BuildConfig:
    """What a `build_model(features, config)` is told, beside the features.

    Attributes:
        model: The `model` section of pipeline.yaml.
        task: Kind of label.
        outputs: Width of the model's one output: 1, or the number of classes for multiclass.
        activation: Of the output: `sigmoid` (probability of the positive class), `softmax`
            (probability of each class) or `linear` (the label in standard deviations from its
            mean; the trainer turns it into the label's own unit).
        l2: L2 penalty for dense kernels (0: none).
        l1: L1 penalty for them.
        folder: Folder that files named in the section start from.
    """

    model: ModelConfig
    task: Literal["binary", "multiclass", "regression"]
    outputs: int
    activation: Literal["sigmoid", "softmax", "linear"]
    l2: float = 0.0
    l1: float = 0.0
    folder: Path = Path()


BuildModel = Callable[[Sequence[FeatureSpec], BuildConfig], "tf_keras.Model"]

FAMILIES: dict[str, BuildModel] = {
    "dnn": dnn.build_model,
    "linear": linear.build_model,
    "wide_deep": wide_deep.build_model,
    "dcn": dcn.build_model,
    "residual": residual.build_model,
    "attention": attention.build_model,
}
