"""Logistic regression, or linear: the baseline that a network has to beat.

The sum of one weight for each value of each feature; no interactions. The head scales the sum by
its one weight (starting at 1), so that it ends in a Dense as every family does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.models.features import encoded
from trainer.models.layers import added, head
from trainer.models.wide import wide_terms
from transform.layout import FeatureSpec

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.registry import BuildConfig


def build_model(features: Sequence[FeatureSpec], config: BuildConfig) -> tf_keras.Model:
    """Builds the model, with one input a feature; arguments and result as in `dnn`."""
    import tf_keras

    made = encoded(features, config)
    logits = added(wide_terms(features, made, config), "wide_logits")
    return tf_keras.Model(made.inputs, head(logits, config, "identity"), name="linear")
