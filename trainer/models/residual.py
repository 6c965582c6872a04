"""A residual MLP over numbers and categorical embeddings.

The ResNet of Yury Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data", 2021
(https://arxiv.org/abs/2106.11959), section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.models.config import ResidualConfig
from trainer.models.features import encoded
from trainer.models.layers import activated, dense, dropped, head, joined, normalized
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.registry import BuildConfig


def build_model(features: Sequence[FeatureSpec], config: BuildConfig) -> tf_keras.Model:
    """Builds the network, with one input a feature; arguments and result as in `dnn`."""
    import tf_keras

    sizes = config.model.residual or ResidualConfig()
    made = encoded(features, config)
    x = dense(joined(made.vectors.values()), sizes.units, config, "stem")
    for index in range(sizes.blocks):
        x = _block(x, sizes, config, f"block_{index}")
    x = activated(_normalized(x, config, "last_norm"), config, "last_activation")
    return tf_keras.Model(made.inputs, head(x, config), name="residual")


def _block(
    x: tf_keras.KerasTensor, sizes: ResidualConfig, config: BuildConfig, name: str
) -> tf_keras.KerasTensor:
    """Adds to x: Dropout(Dense(Dropout(activation(Dense(norm(x))))))."""
    import tf_keras

    inner = max(1, round(sizes.expansion * sizes.units))
    y = _normalized(x, config, f"{name}_norm")
    y = dense(y, inner, config, f"{name}_in", config.model.activation)
    y = dropped(y, config, f"{name}_dropout_in")
    y = dense(y, sizes.units, config, f"{name}_out")
    y = dropped(y, config, f"{name}_dropout_out")
    return tf_keras.layers.Add(name=f"{name}_add")([x, y])


def _normalized(x: tf_keras.KerasTensor, config: BuildConfig, name: str) -> tf_keras.KerasTensor:
    how = config.model.normalization
    return x if how == "none" else normalized(x, "batch" if how == "auto" else how, name)
