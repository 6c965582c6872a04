"""What is done to every training batch before the network sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from transform.augment.batch import augmenter, synonym_tables

if TYPE_CHECKING:
    import tensorflow_transform as tft

    from trainer.config import TrainConfig
    from transform.config import TransformConfig
    from transform.layout import FeatureSpec

# Features by name, labels [N, width] and a seed, int64 [2], to features and labels.
Prepare = Callable[
    [Mapping[str, tf.Tensor], tf.Tensor, tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor]
]


def preparation(
    train: TrainConfig,
    transform: TransformConfig,
    layout: Sequence[FeatureSpec],
    tft_output: tft.TFTransformOutput,
    folder: Path,
) -> Prepare | None:
    """Augmentation, cutout and mixup of a batch, in this order; None where none is asked for.

    All of it follows from the seed that it is given, which is the run's and the step's: a resumed
    run changes rows as an undisturbed one, and every replica and worker sees its share of one and
    the same global batch.

    Args:
        train: The `train` section.
        transform: Features and label.
        layout: The features.
        tft_output: Has the vocabularies that synonyms are looked up in.
        folder: Where the path of the synonyms starts from.

    Raises:
        ConfigError: The synonyms cannot be read.
    """
    from trainer.regularize.cutout import cut_out
    from trainer.regularize.mixup import is_packed, mixed

    cutout, alpha, augment = train.cutout, train.mixup, train.augment
    if cutout is None and alpha is None and augment is None:
        return None
    change = None
    if augment is not None:
        tables = synonym_tables(augment, layout, transform.features, tft_output, folder)
        change = augmenter(augment, layout, tables)
    packed = is_packed(transform.label)

    def prepare(
        features: Mapping[str, tf.Tensor], label: tf.Tensor, seed: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        for_change, for_cut, for_mix = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
        made = dict(features)
        if change is not None:
            made = change(made, for_change)
        if cutout is not None:
            made = cut_out(made, for_cut, cutout, layout)
        if alpha is not None:
            return mixed(made, label, for_mix, alpha, layout, packed=packed)
        return made, label

    return prepare
