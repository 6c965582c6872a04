"""The model families by name, and the contract that each one's `build_model` fulfils."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainer.config import ModelConfig, TrainConfig
from trainer.models import attention, dcn, dnn, linear, ranking, residual, two_tower, wide_deep
from transform.config import LabelConfig
from transform.label_config import Task
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras

    from trainer.input import Split

Activation = Literal["sigmoid", "softmax", "linear"]


@dataclass(frozen=True)
class BuildConfig:
    """What a `build_model(features, config)` is told, beside the features.

    Attributes:
        model: The `model` section of pipeline.yaml.
        task: Kind of label.
        outputs: Width of the model's one output: 1, the number of classes for multiclass and
            multilabel, that of quantiles for quantile.
        activation: Of the output: `sigmoid` (probability of the positive class; of a multilabel of
            each class by itself), `softmax` (probability of each class, 1 together) or `linear`
            (the label, or a quantile of it, in standard deviations from its mean; the trainer turns
            it into the label's own unit).
        l2: L2 penalty for dense kernels (0: none).
        l1: L1 penalty for them (0: none).
        folder: Folder that files named in the section start from.
        label: What is predicted.
    """

    model: ModelConfig
    task: Task
    outputs: int
    activation: Activation
    l2: float = 0.0
    l1: float = 0.0
    folder: Path = Path()
    label: LabelConfig | None = None


BuildModel = Callable[[Sequence[FeatureSpec], BuildConfig], "tf_keras.Model"]

FAMILIES: dict[str, BuildModel] = {
    "dnn": dnn.build_model,
    "linear": linear.build_model,
    "wide_deep": wide_deep.build_model,
    "dcn": dcn.build_model,
    "residual": residual.build_model,
    "attention": attention.build_model,
    "ranking": ranking.build_model,
    "two_tower": two_tower.build_model,
}


def family_loss(
    model: tf_keras.Model,
    config: ModelConfig,
    train: TrainConfig,
    label: LabelConfig,
    split: Split,
) -> Callable[..., Any] | None:
    """The loss that a family brings with it, for `Model.compile`; None: that of the label's task.

    Args:
        model: The family's.
        config: The `model` section.
        train: The `train` section.
        label: What is predicted.
        split: The training rows.

    Raises:
        ConfigError: A field of `train` changes a loss that the family does not have.
    """
    if config.builder is not None or config.family != "two_tower":
        return None
    from trainer.losses import class_counts

    two_tower.check(train)
    return two_tower.make_loss(model, class_counts(split, len(label.classes)))


def served(model: tf_keras.Model, config: ModelConfig) -> tf_keras.Model:
    """A trained model in the form that its family is exported in, with the same answers."""
    if config.builder is not None or config.family != "two_tower":
        return model
    return two_tower.served(model)
