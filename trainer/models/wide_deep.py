"""Wide & deep: a linear model, which remembers rare values and crosses, plus a network, which
generalizes. Heng-Tze Cheng et al., 2016 (https://arxiv.org/abs/1606.07792)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.models.features import encoded
from trainer.models.layers import added, dense, dense_stack, head, joined
from trainer.models.wide import wide_terms
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.registry import BuildConfig


def build_model(features: Sequence[FeatureSpec], config: BuildConfig) -> tf_keras.Model:
    """Builds the network, with one input a feature; arguments and result as in `dnn`."""
    import tf_keras

    made = encoded(features, config)
    deep = dense_stack(joined(made.vectors.values()), config)
    terms = [
        dense(deep, config.outputs, config, "deep", use_bias=False),
        *wide_terms(features, made, config),
    ]
    logits = added(terms, "logits")
    return tf_keras.Model(made.inputs, head(logits, config, "identity"), name="wide_deep")
