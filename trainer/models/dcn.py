"""DCN-v2: layers that multiply features with each other, so that crosses need not be named.

Ruoxi Wang et al., "DCN V2: Improved Deep & Cross Network", 2020 (https://arxiv.org/abs/2008.13535).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.models.config import DcnConfig
from trainer.models.features import encoded
from trainer.models.layers import dense, dense_stack, head, joined
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.registry import BuildConfig


def build_model(features: Sequence[FeatureSpec], config: BuildConfig) -> tf_keras.Model:
    """Builds the network, with one input a feature; arguments and result as in `dnn`."""
    import tf_keras

    sizes = config.model.dcn or DcnConfig()
    made = encoded(features, config)
    x0 = joined(made.vectors.values())
    crossed = x0
    for index in range(sizes.cross_layers):
        crossed = _cross(x0, crossed, sizes.rank, config, f"cross_{index}")
    if sizes.structure == "stacked":
        x = dense_stack(crossed, config)
    else:
        x = tf_keras.layers.Concatenate(name="parallel")([crossed, dense_stack(x0, config)])
    return tf_keras.Model(made.inputs, head(x, config), name="dcn")


def _cross(
    x0: tf_keras.KerasTensor, x: tf_keras.KerasTensor, rank: int, config: BuildConfig, name: str
) -> tf_keras.KerasTensor:
    """x0 * (W x + b) + x (equation 1); with a rank, W = U V' (equation 2)."""
    import tf_keras

    layers, width = tf_keras.layers, x0.shape[-1]
    weighed = x
    if rank:
        weighed = dense(weighed, rank, config, f"{name}_v", use_bias=False)
    weighed = dense(weighed, width, config, name)
    return layers.Add(name=f"{name}_add")([layers.Multiply(name=f"{name}_by")([x0, weighed]), x])
