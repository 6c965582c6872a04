"""A feed-forward network: every feature to a vector, one stack of dense layers.

After the concatenation come only layers that TF-MOT can prune, cluster and quantize (Dense,
Dropout); what it rejects (Embedding, Dot) stands in front of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.models.features import encoded
from trainer.models.layers import dense_stack, head, joined
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.registry import BuildConfig


def build_model(features: Sequence[FeatureSpec], config: BuildConfig) -> tf_keras.Model:
    """Builds the network, as a functional model with one input a feature.

    Args:
        features: The transformed features. Inputs are named after them and have their shapes.
        config: Sizes, head and regularization.

    Returns:
        A model from a dict of feature batches to float32 [N, config.outputs].
    """
    import tf_keras

    made = encoded(features, config)
    x = dense_stack(joined(made.vectors.values()), config)
    return tf_keras.Model(made.inputs, head(x, config), name="dnn")
