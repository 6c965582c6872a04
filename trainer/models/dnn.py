"""A feed-forward network for tabular data: every feature to a vector, one stack of dense layers.

After the concatenation come only layers that TF-MOT can prune, cluster and quantize (Dense,
Dropout); what it rejects (Embedding, Dot) stands in front of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.registry import BuildConfig

ONE_HOT_MAX_IDS = 8  # Up to here a one-hot row is no longer than the embedding would need to be.


def build_model(features: Sequence[FeatureSpec], config: BuildConfig) -> tf_keras.Model:
    """Builds the network, as a functional model with one input a feature.

    Args:
        features: The transformed features. Inputs are named after them and have their shapes.
        config: Sizes, head and regularization.

    Returns:
        A model from a dict of feature batches to float32 [N, config.outputs].
    """
    import tf_keras

    inputs = {name: tensor for spec in features for name, tensor in _inputs(spec).items()}
    scopes = scope_names([spec.name for spec in features])
    parts = [_encode(spec, scopes[spec.name], inputs, config) for spec in features]
    layers = tf_keras.layers
    x = layers.Concatenate(name="features")(parts) if len(parts) > 1 else parts[0]
    l2 = tf_keras.regularizers.L2(config.l2) if config.l2 else None
    for index, units in enumerate(config.model.hidden_units):
        x = layers.Dense(units, "relu", kernel_regularizer=l2, name=f"hidden_{index}")(x)
        if config.model.dropout:
            x = layers.Dropout(config.model.dropout, name=f"dropout_{index}")(x)
    output = layers.Dense(config.outputs, config.activation, kernel_regularizer=l2, name="head")(x)
    return tf_keras.Model(inputs, output, name="dnn")


def embedding_dim(ids: int, longest: int) -> int:
    """Length of the embedding of `ids` values: 1.6 * ids ** 0.56 (fastai's rule), at most
    `longest`."""
    return min(longest, max(2, round(1.6 * ids**0.56)))


def scope_names(names: Sequence[str]) -> dict[str, str]:
    """For each name one that TensorFlow takes for a scope, unlike all others.

    A layer's name becomes a scope, and a column may be called `Größe (cm)`.
    """
    scopes: dict[str, str] = {}
    for name in names:
        scope = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        if not scope[:1].isalnum():
            scope = f"x{scope}"
        while scope in scopes.values():
            scope = f"{scope}_"
        scopes[name] = scope
    return scopes


def _inputs(spec: FeatureSpec) -> dict[str, tf_keras.KerasTensor]:
    import tf_keras

    dtype = "int64" if spec.kind in ("ids", "bag") else "float32"
    inputs = {spec.name: tf_keras.Input(shape=spec.shape, dtype=dtype, name=spec.name)}
    if spec.weights is not None:
        inputs[spec.weights] = tf_keras.Input(shape=spec.shape, name=spec.weights)
    return inputs


def _encode(
    spec: FeatureSpec, scope: str, inputs: Mapping[str, tf_keras.KerasTensor], config: BuildConfig
) -> tf_keras.KerasTensor:
    """One feature as a vector [N, n]; `scope` begins the names of its layers."""
    import tf_keras

    layers = tf_keras.layers
    tensor = inputs[spec.name]
    dim = embedding_dim(spec.size, config.model.embedding_max_dim)
    match spec.kind:
        case "dense":
            return tensor if len(spec.shape) == 1 else layers.Reshape((spec.size,))(tensor)
        case "image":
            return _convolve(spec, scope, tensor)
        case "bag" if spec.weights is not None:
            # The sum of the tokens' embeddings, weighted; padding has weight 0.
            rows = layers.Embedding(spec.size, dim, name=f"{scope}_embedding")(tensor)
            return layers.Dot(axes=1, name=f"{scope}_sum")([inputs[spec.weights], rows])
        case "ids" if spec.size <= ONE_HOT_MAX_IDS:
            # A frozen identity table is a one-hot row by one gather, without the range checks and
            # the cast of CategoryEncoding.
            table = layers.Embedding(
                spec.size,
                spec.size,
                embeddings_initializer="identity",
                trainable=False,
                name=f"{scope}_one_hot",
            )
        case "ids":
            table = layers.Embedding(spec.size, dim, name=f"{scope}_embedding")
    return layers.Flatten(name=f"{scope}_flat")(table(tensor))


def _convolve(spec: FeatureSpec, scope: str, tensor: tf_keras.KerasTensor) -> tf_keras.KerasTensor:
    """Convolutions that halve the image until its short side is about 4 pixels, then flatten."""
    import tf_keras

    layers = tf_keras.layers
    halvings = max(1, min(4, int(math.log2(max(2, min(size or 1 for size in spec.shape[:2]) / 4)))))
    x = tensor
    for index in range(halvings):
        x = layers.Conv2D(
            16 * 2**index, 3, padding="same", activation="relu", name=f"{scope}_conv_{index}"
        )(x)
        x = layers.MaxPooling2D(name=f"{scope}_pool_{index}")(x)
    return layers.Flatten(name=f"{scope}_flat")(x)
