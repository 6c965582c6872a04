"""A transformer over features: each one a token, and a CLS token that reads them.

In the manner of the FT-Transformer of Yury Gorishniy et al., "Revisiting Deep Learning Models for
Tabular Data", 2021 (https://arxiv.org/abs/2106.11959), section 3.3: normalization in front of each
sublayer, but not of the first attention. Of stock layers alone: the CLS token is the bias of a
Dense layer over all features, whose kernel starts at zero and may learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.models.config import AttentionConfig
from trainer.models.features import Encoded, encoded, scope_names
from trainer.models.layers import activated, dense, dropped, head, joined, normalized
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.registry import BuildConfig


def build_model(features: Sequence[FeatureSpec], config: BuildConfig) -> tf_keras.Model:
    """Builds the network, with one input a feature; arguments and result as in `dnn`."""
    import tf_keras

    sizes = config.model.attention or AttentionConfig()
    made = encoded(features, config)
    x = _tokens(features, made, sizes, config)
    for index in range(sizes.blocks):
        x = _block(x, index, sizes, config)
    x = tf_keras.layers.Reshape((sizes.token_dim,), name="cls")(x)
    x = activated(normalized(x, "layer", "last_norm"), config, "last_activation")
    return tf_keras.Model(made.inputs, head(x, config), name="attention")


def _tokens(
    features: Sequence[FeatureSpec], made: Encoded, sizes: AttentionConfig, config: BuildConfig
) -> tf_keras.KerasTensor:
    """CLS and one token for each feature, [N, 1 + features, token_dim].

    A number's token is its value times a vector, plus a bias; a category's is its embedding,
    brought to the tokens' length.
    """
    import tf_keras

    layers, dim = tf_keras.layers, sizes.token_dim
    scopes = scope_names([spec.name for spec in features])
    tokens = [
        dense(made.vectors[spec.name], dim, config, f"{scopes[spec.name]}_token")
        for spec in features
    ]
    cls = dense(
        joined(made.vectors.values()),
        dim,
        config,
        "cls_token",
        kernel_initializer="zeros",
        bias_initializer=tf_keras.initializers.TruncatedNormal(stddev=0.1),
    )
    rows = [layers.Reshape((1, dim), name=f"{t.node.layer.name}_row")(t) for t in (cls, *tokens)]
    return layers.Concatenate(axis=1, name="tokens")(rows)


def _block(
    x: tf_keras.KerasTensor, index: int, sizes: AttentionConfig, config: BuildConfig
) -> tf_keras.KerasTensor:
    """Attention, then a dense layer for each token, each added to what it read.

    Of the last block only the CLS token is read, so it alone is computed: [N, 1, token_dim].
    """
    import tf_keras

    layers, name = tf_keras.layers, f"block_{index}"
    y = normalized(x, "layer", f"{name}_attention_norm") if index else x
    query = y
    if index == sizes.blocks - 1:
        after = x.shape[1] - 1
        x = layers.Cropping1D((0, after), name=f"{name}_cls")(x)
        query = layers.Cropping1D((0, after), name=f"{name}_query")(y)
    attention = layers.MultiHeadAttention(
        sizes.heads,
        sizes.token_dim // sizes.heads,
        dropout=config.model.dropout,
        name=f"{name}_attention",
    )
    x = layers.Add(name=f"{name}_attention_add")([x, attention(query, y)])
    y = normalized(x, "layer", f"{name}_norm")
    inner = max(1, round(sizes.feedforward * sizes.token_dim))
    y = dense(y, inner, config, f"{name}_in", config.model.activation)
    y = dropped(y, config, f"{name}_dropout")
    y = dense(y, sizes.token_dim, config, f"{name}_out")
    return layers.Add(name=f"{name}_add")([x, y])
