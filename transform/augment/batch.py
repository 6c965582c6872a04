"""All augmentation of one batch of transformed features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from transform.augment import image, synonyms, tabular, text
from transform.augment.config import AugmentConfig
from transform.categorical import vocabulary_name
from transform.config import FeaturesConfig, TextFeature, feature_name
from transform.text import FIRST_TOKEN

if TYPE_CHECKING:
    import tensorflow_transform as tft

    from transform.layout import FeatureSpec

Features = Mapping[str, tf.Tensor]
# Model inputs [N, ...] by name and a seed, int64 [2], that all changes follow from.
Augment = Callable[[Features, tf.Tensor], dict[str, tf.Tensor]]


def augmenter(
    config: AugmentConfig,
    layout: Sequence[FeatureSpec],
    tables: Mapping[str, synonyms.Table] | None = None,
) -> Augment:
    """The function that changes a training batch, for `tf.data.Dataset.map`.

    Args:
        config: The `train.augment` section.
        layout: What the features are.
        tables: From `synonym_tables`.
    """
    tables = tables or {}

    def augment(features: Features, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        made = dict(features)
        for index, spec in enumerate(layout):
            # By place, so that a feature's changes are its own and follow from the seed alone.
            own = tf.random.experimental.stateless_fold_in(seed, index)
            made |= _changed(spec, features, own, config, tables.get(spec.name))
        return made

    return augment


def synonym_tables(
    config: AugmentConfig,
    layout: Sequence[FeatureSpec],
    features: FeaturesConfig,
    tft_output: tft.TFTransformOutput,
    folder: Path,
) -> dict[str, synonyms.Table]:
    """The synonyms of each text feature, as ids of its vocabulary; none without `synonyms`.

    Args:
        config: The `train.augment` section.
        layout: The features.
        features: The `features` section: which columns are text.
        tft_output: Has the vocabularies.
        folder: Where a relative path starts from.

    Raises:
        ConfigError: The file cannot be read or has a line without synonyms.
    """
    if config.text is None or config.text.synonyms is None:
        return {}
    groups = synonyms.read_synonyms(folder / Path(config.text.synonyms).expanduser())
    columns = {}
    for name, column in features.columns.items():
        if isinstance(column, TextFeature):
            part = "sequence" if column.output == "sequence" else "ids"
            columns[feature_name(name, part)] = name
    tables = {}
    for spec in layout:
        if spec.name in columns:
            words = tft_output.vocabulary_by_name(vocabulary_name(columns[spec.name]))
            first = FIRST_TOKEN if spec.kind == "sequence" else 0
            table = synonyms.table_of(groups, synonyms.vocabulary_ids(words, first), spec.size)
            if table is not None:
                tables[spec.name] = table
    return tables


def is_number(spec: FeatureSpec) -> bool:
    """Whether it is one measured number: not one-hot, not the mark of a missing one."""
    return spec.kind == "dense" and spec.shape == (1,) and not spec.name.endswith("_missing_xf")


def _changed(
    spec: FeatureSpec,
    features: Features,
    seed: tf.Tensor,
    config: AugmentConfig,
    table: synonyms.Table | None,
) -> dict[str, tf.Tensor]:
    values = features[spec.name]
    match spec.kind:
        case "image" if config.image is not None:
            return {spec.name: image.changed(values, seed, config.image)}
        case "sequence" if config.text is not None:
            return {spec.name: text.sequence(values, seed, config.text, table)}
        case "bag" if config.text is not None and spec.weights is not None:
            ids, weights = text.bag(values, features[spec.weights], seed, config.text, table)
            return {spec.name: ids, spec.weights: weights}
        case "dense" | "ids" | "series" if config.tabular is not None:
            for_swap, for_noise = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
            if config.tabular.swap and spec.kind != "series":
                values = tabular.swapped(values, for_swap, config.tabular.swap)
            if config.tabular.noise and (is_number(spec) or spec.kind == "series"):
                values = tabular.noisy(values, for_noise, config.tabular.noise)
            return {spec.name: values}
    return {}
