"""Ranking by products of features: who is asked times what is offered.

Maxim Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation
Systems" (DLRM), 2019 (https://arxiv.org/abs/1906.00091): the products of all pairs of embeddings
stand beside the features. A dense stack learns to multiply only slowly; that a user likes an item
is here a product of their embeddings, which is matrix factorization.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.models.features import encoded, scope_names
from trainer.models.layers import dense, dense_stack, head, joined
from trainer.recommend.config import RankingConfig
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.registry import BuildConfig


def build_model(features: Sequence[FeatureSpec], config: BuildConfig) -> tf_keras.Model:
    """Builds the network, with one input a feature; arguments and result as in `dnn`."""
    import tf_keras

    layers, dim = tf_keras.layers, (config.model.ranking or RankingConfig()).dim
    made = encoded(features, config)
    scopes = scope_names(list(made.vectors))
    rows = []
    for name, vector in made.vectors.items():
        projected = dense(vector, dim, config, f"{scopes[name]}_factor")
        rows.append(layers.Reshape((1, dim), name=f"{scopes[name]}_row")(projected))
    parts = list(made.vectors.values())
    if len(rows) > 1:
        factors = layers.Concatenate(axis=1, name="factors")(rows)
        # Every pair twice, and each feature with itself: cheaper than choosing the upper half.
        products = layers.Dot(axes=2, name="products")([factors, factors])
        parts.append(layers.Reshape((len(rows) ** 2,), name="products_flat")(products))
    return tf_keras.Model(
        made.inputs, head(dense_stack(joined(parts), config), config), name="ranking"
    )
