"""A Transformer encoder over tokens, after Vaswani et al., "Attention Is All You Need" (2017,
https://arxiv.org/abs/1706.03762), with normalization in front of each sublayer and learned
positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainer.models.encoders.transformer_config import TransformerConfig

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.encoders.registry import Encoding


@dataclass(frozen=True)
class Sizes:
    """What shapes the weights of an encoder.

    Attributes:
        ids: Rows of its embedding: the vocabulary's words, padding and unknown.
        length: Tokens that it has positions for.
        width: Length of a token's vector; a multiple of `heads`.
        blocks: Transformer blocks.
        heads: Attention heads of a block.
        inner: Width of a block's dense layer, in units.
    """

    ids: int
    length: int
    width: int
    blocks: int
    heads: int
    inner: int


# Calls a block's Dense layer of this name on a tensor; what fine-tuning adds, it adds around it.
Call = Callable[[str, "tf_keras.layers.Layer", "tf_keras.KerasTensor"], "tf_keras.KerasTensor"]


@dataclass
class Parts:
    """The layers of one encoder, as they are made.

    Attributes:
        scope: What their names begin with, "" for nothing.
        dropout: Share of attention weights and units dropped in training.
        trainable: Whether the layers learn.
        call: How the blocks' Dense layers are called.
        layers: Those with weights, by their name without the scope.
    """

    scope: str
    dropout: float
    trainable: bool = True
    call: Call = field(default=lambda name, layer, x: layer(x))
    layers: dict[str, tf_keras.layers.Layer] = field(default_factory=dict)

    def named(self, name: str) -> str:
        """The whole name of a layer."""
        return f"{self.scope}_{name}" if self.scope else name

    def made(self, name: str, layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        """A layer with weights, remembered."""
        layer.trainable = self.trainable
        self.layers[name] = layer
        return layer


def encode(feature: Encoding) -> tf_keras.KerasTensor:
    """The mean of what the encoder makes of each token: [N, embedding_dim]; 0 for no token."""
    text = feature.config.model.text
    shape = text.transformer or TransformerConfig()
    sizes = sizes_of(shape, text.embedding_dim, feature.spec.size, feature.spec.shape[0] or 0)
    x = tokens(feature.tensor, sizes, Parts(feature.scope, shape.dropout))
    return pooled(x, feature.tensor, feature.scope)


def sizes_of(shape: TransformerConfig, width: int, ids: int, length: int) -> Sizes:
    """The sizes that a config means.

    Args:
        shape: Blocks, heads, and the dense layer as a multiple of the width.
        width: `embedding_dim`.
        ids: Number of ids, 0 and 1 included.
        length: Tokens a row.
    """
    inner = max(1, round(shape.feedforward * width))
    return Sizes(ids, length, width, shape.blocks, shape.heads, inner)


def tokens(ids: tf_keras.KerasTensor, sizes: Sizes, parts: Parts) -> tf_keras.KerasTensor:
    """What the encoder makes of each token: ids int64 [N, L] to [N, L, width]."""
    import tf_keras

    from trainer.models.encoders.transformer_layers import Positions

    layers = tf_keras.layers
    near_zero = tf_keras.initializers.TruncatedNormal(stddev=0.02)
    embedding = layers.Embedding(
        sizes.ids, sizes.width, embeddings_initializer=near_zero, name=parts.named("tokens")
    )
    x = parts.made("tokens", embedding)(ids)
    x = parts.made("positions", Positions(sizes.length, name=parts.named("positions")))(x)
    x = _dropped(x, "dropout", parts)
    for index in range(sizes.blocks):
        x = _block(x, ids, f"block_{index}", sizes, parts)
    return _normalized(x, "last_norm", parts)


def pooled(x: tf_keras.KerasTensor, ids: tf_keras.KerasTensor, scope: str) -> tf_keras.KerasTensor:
    """The mean over the tokens that are there: [N, L, d] to [N, d]; 0 where there is none."""
    import tf_keras

    from trainer.models.encoders.tokens import TokenMask

    shares = TokenMask(mean=True, name=f"{scope}_shares")(ids)
    mean = tf_keras.layers.Dot(axes=1, name=f"{scope}_mean")([shares, x])
    return tf_keras.layers.Flatten(name=f"{scope}_flat")(mean)


def _block(
    x: tf_keras.KerasTensor, ids: tf_keras.KerasTensor, name: str, sizes: Sizes, parts: Parts
) -> tf_keras.KerasTensor:
    """Self-attention, then a dense layer for each token, each added to what it read."""
    import tf_keras

    from trainer.models.encoders.transformer_layers import Attended, AttentionProbabilities

    layers = tf_keras.layers
    y = _normalized(x, f"{name}_attention_norm", parts)
    query, key, value = (
        _dense(y, sizes.width, f"{name}_{part}", parts) for part in ("query", "key", "value")
    )
    attention = AttentionProbabilities(sizes.heads, name=parts.named(f"{name}_attention"))
    probabilities = attention([query, key, ids])
    probabilities = _dropped(probabilities, f"{name}_attention_dropout", parts)
    y = Attended(name=parts.named(f"{name}_attended"))([probabilities, value])
    y = _dense(y, sizes.width, f"{name}_attention_out", parts)
    y = _dropped(y, f"{name}_attention_out_dropout", parts)
    x = layers.Add(name=parts.named(f"{name}_attention_add"))([x, y])
    y = _normalized(x, f"{name}_norm", parts)
    y = _dense(y, sizes.inner, f"{name}_in", parts)
    y = layers.Activation("gelu", name=parts.named(f"{name}_gelu"))(y)
    y = _dense(y, sizes.width, f"{name}_out", parts)
    y = _dropped(y, f"{name}_out_dropout", parts)
    return layers.Add(name=parts.named(f"{name}_add"))([x, y])


def _dense(x: tf_keras.KerasTensor, units: int, name: str, parts: Parts) -> tf_keras.KerasTensor:
    import tf_keras

    layer = parts.made(name, tf_keras.layers.Dense(units, name=parts.named(name)))
    return parts.call(name, layer, x)


def _normalized(x: tf_keras.KerasTensor, name: str, parts: Parts) -> tf_keras.KerasTensor:
    import tf_keras

    layer = tf_keras.layers.LayerNormalization(epsilon=1e-5, name=parts.named(name))
    return parts.made(name, layer)(x)


def _dropped(x: tf_keras.KerasTensor, name: str, parts: Parts) -> tf_keras.KerasTensor:
    import tf_keras

    if not parts.dropout:
        return x
    return tf_keras.layers.Dropout(parts.dropout, name=parts.named(name))(x)
