"""The attention of a model's Transformer encoders, as a model of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfx_pipeline.errors import ConfigError

if TYPE_CHECKING:
    import tf_keras


def attention_of(model: tf_keras.Model) -> tf_keras.Model:
    """A functional model from the inputs of `model` to the attention in it.

    It shares the weights of `model`. Its output is a dict of float32 [N, heads, L, L] by block, in
    the blocks' order (`review_sequence_xf_block_0`): how much each token (third axis) attends to
    each (fourth). A token's row sums to 1; padding gets nothing.

    Args:
        model: Of `model.text.encoder: transformer`, or `pretrained` with an encoder of
            `assay pretrain`; also as `keras_model.h5` gives it back.

    Raises:
        ConfigError: The model has no such encoder.
    """
    import tf_keras

    from trainer.models.encoders.transformer_layers import AttentionProbabilities

    found = {
        layer.name.removesuffix("_attention"): layer.output
        for layer in model.layers
        if isinstance(layer, AttentionProbabilities)
    }
    if not found:
        raise ConfigError(
            f"the model {model.name!r} has no Transformer encoder, whose attention could be shown",
            hint="Set model.text.encoder to transformer, or to pretrained with an encoder that "
            "`assay pretrain` wrote.",
        )
    return tf_keras.Model(model.input, found, name=f"{model.name}_attention")
