"""Small trainable layers in a frozen Transformer: bottleneck adapters and LoRA.

Adapters: Neil Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", 2019
(https://arxiv.org/abs/1902.00751): behind both sublayers of a block; unlike there, the
normalization stays frozen with the rest. LoRA: Edward J. Hu et al., "LoRA: Low-Rank Adaptation of
Large Language Models", 2021 (https://arxiv.org/abs/2106.09685): on queries and values, its scale
alpha / r fixed at 1. At first both change nothing of what the encoder answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.models.encoders.transformer_config import ADAPTER_UNITS, LORA_RANK, PretrainedConfig

if TYPE_CHECKING:
    import tf_keras

    from trainer.models.config import ModelConfig
    from trainer.models.encoders.text_transformer import Call, Parts

_DOWN, _UP = "_lora_down", "_lora_up"


def inserted(given: PretrainedConfig, parts: Parts) -> Call:
    """How a block's Dense layers are called, so that what learns stands around them.

    Args:
        given: `tune` and sizes.
        parts: Names of the encoder's layers.
    """
    if given.tune == "adapters":
        return _adapters(given.adapter_units or ADAPTER_UNITS, parts)
    if given.tune == "lora":
        return _lora(given.lora_rank or LORA_RANK, parts)
    return parts.call


def learning(model: tf_keras.Model) -> str:
    """How many of a model's parameters learn, for the log."""
    learn, fixed = (
        sum(int(weight.shape.num_elements()) for weight in weights)
        for weights in (model.trainable_weights, model.non_trainable_weights)
    )
    return f"{learn:,} of {learn + fixed:,} parameters learn"


def without_lora(model: ModelConfig) -> ModelConfig | None:
    """The section for the model that is exported, where LoRA trained one; else None."""
    given = model.text.pretrained
    if model.builder or model.text.encoder != "pretrained" or given is None:
        return None
    if given.tune != "lora":
        return None
    full = given.model_copy(update={"tune": "full", "lora_rank": None})
    text = model.text.model_copy(update={"pretrained": full})
    return model.model_copy(update={"text": text})


def merged(model: tf_keras.Model, plain: tf_keras.Model) -> tf_keras.Model:
    """`plain` with the weights of `model`, the low-rank changes added to its kernels.

    It answers as `model` does and costs what the encoder costs without LoRA.

    Args:
        model: Trained with LoRA.
        plain: The same without, built from the section of `without_lora`; its weights are lost.
    """
    trained = {layer.name: layer for layer in model.layers}
    for layer in plain.layers:
        if not layer.weights:
            continue
        weights = trained[layer.name].get_weights()
        if (down := trained.get(f"{layer.name}{_DOWN}")) is not None:
            [up] = trained[f"{layer.name}{_UP}"].get_weights()
            weights[0] = weights[0] + down.get_weights()[0] @ up
        layer.set_weights(weights)
    return plain


def _adapters(units: int, parts: Parts) -> Call:
    def call(
        name: str, layer: tf_keras.layers.Layer, x: tf_keras.KerasTensor
    ) -> tf_keras.KerasTensor:
        import tf_keras

        y = layer(x)
        if not name.endswith("_out"):
            return y
        layers, scope = tf_keras.layers, parts.named(f"{name}_adapter")
        inner = layers.Dense(units, name=f"{scope}_down")(y)
        inner = layers.Activation("gelu", name=f"{scope}_gelu")(inner)
        change = layers.Dense(layer.units, kernel_initializer="zeros", name=f"{scope}_up")(inner)
        return layers.Add(name=scope)([y, change])

    return call


def _lora(rank: int, parts: Parts) -> Call:
    def call(
        name: str, layer: tf_keras.layers.Layer, x: tf_keras.KerasTensor
    ) -> tf_keras.KerasTensor:
        import tf_keras

        if not name.endswith(("_query", "_value")):
            return layer(x)
        layers, scope = tf_keras.layers, parts.named(name)
        down = layers.Dense(rank, use_bias=False, name=f"{scope}{_DOWN}")
        up = layers.Dense(
            layer.units, use_bias=False, kernel_initializer="zeros", name=f"{scope}{_UP}"
        )
        return layers.Add(name=f"{scope}_lora")([layer(x), up(down(x))])

    return call
