"""The wide part: one weight for each value of each feature, summed. Logistic regression is this
alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trainer.models.features import Encoded, scope_names
from trainer.models.layers import dense, joined, l2
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.registry import BuildConfig


def wide_terms(
    features: Sequence[FeatureSpec], made: Encoded, config: BuildConfig
) -> Iterator[tf_keras.KerasTensor]:
    """What each categorical feature, and all others together, add to the logits [N, outputs].

    An id's weight is a row of a table, which is a dense layer on its one-hot row without the row.
    Of several ids in a feature it is the mean; a bag's are weighted. Numbers (and the vectors of
    images) have a kernel.
    """
    import tf_keras

    layers = tf_keras.layers
    scopes = scope_names([spec.name for spec in features])
    rest = [made.vectors[s.name] for s in features if s.kind not in ("ids", "bag")]
    if rest:
        yield dense(joined(rest, "wide_features"), config.outputs, config, "wide", use_bias=False)
    for spec in features:
        if spec.kind not in ("ids", "bag"):
            continue
        scope = scopes[spec.name]
        table = layers.Embedding(
            spec.size,
            config.outputs,
            embeddings_initializer="zeros",
            embeddings_regularizer=l2(config),
            name=f"{scope}_wide",
        )
        weights = table(made.inputs[spec.name])
        if spec.weights is not None:
            yield layers.Dot(axes=1, name=f"{scope}_wide_sum")([made.inputs[spec.weights], weights])
        elif spec.shape == (1,):
            yield layers.Reshape((config.outputs,), name=f"{scope}_wide_flat")(weights)
        else:
            flat = layers.Reshape((-1, config.outputs), name=f"{scope}_wide_flat")(weights)
            yield layers.GlobalAveragePooling1D(name=f"{scope}_wide_mean")(flat)
