"""Which layers of a model TF-MOT can quantize, and the model with quantize wrappers on those."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.quantization.keras import (
    quantize_annotate_layer,
    quantize_apply,
)
from tf_keras.src.saving.serialization_lib import SafeModeScope

from tfx_pipeline.errors import ConfigError, NodeFailed
from trainer.compression.quantize_scheme import (
    Preserve,
    Ranges,
    RefusedError,
    Scheme,
    has_numbers,
    supports,
)
from trainer.compression.rebuild import rebuild
from trainer.models.build import LABEL_UNIT_LAYER

Layer: TypeAlias = tf_keras.layers.Layer

# What TF-MOT's patterns take, and its registry does not know. Whether they do is found by trying.
_IN_PATTERNS = (
    tf_keras.layers.BatchNormalization,
    tf_keras.layers.SeparableConv1D,
    tf_keras.layers.SeparableConv2D,
)


_IN_UNITS = "in int8 its answers would be one of 256 values, and none outside the range of training"


@dataclass(frozen=True)
class Quantized:
    """A model ready for quantization-aware training.

    Attributes:
        model: With TF-MOT's quantize wrappers.
        ranges: How fast the ranges of its activations follow.
        left: Why a layer is left in float, by name; only of layers that were to be quantized.
    """

    model: tf_keras.Model
    ranges: Ranges
    left: dict[str, str]


def quantized(model: tf_keras.Model, preserve: Preserve, only: Collection[str] = ()) -> Quantized:
    """Wraps the layers that TF-MOT can quantize, which it is asked, layer by layer.

    Args:
        model: Functional, without models inside it (`rebuild`); it stays as it is.
        preserve: What is kept of kernels.
        only: Names of layers; empty: every one that can, but for one that gives the answers of a
            regression.

    Raises:
        ConfigError: `only` names a layer that is not there.
        NodeFailed: No layer with weights can be quantized.
    """
    layers = {layer.name: layer for layer in model.layers if layer.name not in model.input_names}
    for name in only:
        if name not in layers:
            close = difflib.get_close_matches(name, layers, n=1)
            raise ConfigError(
                f"the model has no layer {name!r} to quantize",
                where="compress.candidates: qat.layers",
                hint=f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(layers)}.",
            )
    wanted = {name: layer for name, layer in layers.items() if not only or name in only}
    left = {name: why for name, layer in wanted.items() if (why := _refusal(layer))}
    head = "" if only else _linear_head(model)
    if any(layer.weights for name, layer in wanted.items() if name not in {head, *left}):
        left |= {head: _IN_UNITS} if head and head not in left else {}
    while chosen := [name for name in wanted if name not in left]:
        if not any(layers[name].weights for name in chosen):
            break
        annotated, entries = _annotated(model, chosen)
        scheme = Scheme(preserve, entries)
        try:
            return Quantized(_applied(annotated, scheme), scheme.ranges, left)
        except RefusedError as refused:
            reasons = refused.reasons
        except (RuntimeError, TypeError, ValueError) as error:
            reasons = {"": f"TF-MOT says: {error}"}
        known = {name: why for name, why in reasons.items() if name in chosen}
        # Of a layer that a transform put in the place of others it is not told of which.
        left |= known or _refused_alone(model, chosen) or dict.fromkeys(chosen, _any(reasons))
    raise NodeFailed(
        f"the model {model.name!r} has no layer to quantize",
        hint="; ".join(by_reason(left))
        or "Quantize a model with Dense or Conv2D layers, or drop the candidate.",
    )


def by_reason(left: Mapping[str, str]) -> list[str]:
    """One sentence for each reason, with the layers that have it."""
    names: dict[str, list[str]] = {}
    for name, why in left.items():
        names.setdefault(why, []).append(name)
    return [f"{', '.join(layers)} left in float: {why}" for why, layers in names.items()]


def _applied(annotated: tf_keras.Model, scheme: Scheme) -> tf_keras.Model:
    """`quantize_apply`, which makes layers again from their configs: also the user's own, and
    Lambdas, whose code is in this process already."""
    own = {type(layer).__name__: type(layer) for layer in annotated.layers}
    with tf_keras.utils.custom_object_scope(own), SafeModeScope(safe_mode=False):
        return quantize_apply(annotated, scheme)


def _linear_head(model: tf_keras.Model) -> str:
    """The Dense layer whose output is the model's, but for the label's unit; "" where an activation
    or another layer gives it."""
    last = model.layers[-1]
    if last.name == LABEL_UNIT_LAYER:
        last = next(iter(_producers(last).values()))
    is_linear = isinstance(last, tf_keras.layers.Dense) and (
        tf_keras.activations.serialize(last.activation) == "linear"
    )
    return last.name if is_linear else ""


def _any(reasons: Mapping[str, str]) -> str:
    return next(iter(reasons.values()))


def _refusal(layer: Layer) -> str:
    """Why a layer need not be tried; "" where it is."""
    if layer.name == LABEL_UNIT_LAYER:
        return "it turns the output into the label's unit"
    if not supports(layer) and not isinstance(layer, _IN_PATTERNS):
        return f"TF-MOT cannot quantize layers of type {type(layer).__name__}"
    if len(layer.inbound_nodes) > 1:
        return f"it is called {len(layer.inbound_nodes)} times"
    if isinstance(layer, tf_keras.layers.BatchNormalization):
        dense = [p for p in _producers(layer).values() if isinstance(p, tf_keras.layers.Dense)]
        if dense:
            # It would fold it into the kernel, whose one range does not suit every unit then.
            return f"TFLite would compute {dense[0].name}, in front of it, in float, too"
    node = layer.inbound_nodes[0]
    if len(node.call_args) != 1 or any(value is not None for value in node.call_kwargs.values()):
        return "it is called with more than one argument"
    return ""


def _refused_alone(model: tf_keras.Model, chosen: Collection[str]) -> dict[str, str]:
    """The layers that TF-MOT cannot quantize even where no other is."""
    reasons = {}
    for name in chosen:
        annotated, entries = _annotated(model, [name])
        try:
            _applied(annotated, Scheme(Preserve(), entries))
        except RefusedError as refused:
            # A part of a pattern may well need the others.
            if not isinstance(model.get_layer(name), tf_keras.layers.BatchNormalization):
                reasons[name] = _any(refused.reasons)
        except (RuntimeError, TypeError, ValueError) as error:
            reasons[name] = f"TF-MOT says: {error}"
    return reasons


def _annotated(model: tf_keras.Model, chosen: Collection[str]) -> tuple[tf_keras.Model, list[str]]:
    """The model with the chosen layers annotated, and the names of the layers put in between.

    A kernel computes in int8 only if its inputs are int8: an identity layer stands where a tensor
    comes out of layers left in float. A Concatenate needs none: TFLite quantizes what goes in as
    what comes out.
    """
    in_float: set[str] = set()
    entries: list[str] = []
    for layer in model.layers:
        if layer.name in model.input_names:
            continue
        from_float = not has_numbers(layer) and in_float & set(_producers(layer))
        if layer.name not in chosen or from_float:
            in_float.add(layer.name)

    def between(producer: Layer, consumer: Layer) -> Layer | None:
        if consumer.name not in chosen or producer.name not in in_float:
            return None
        if isinstance(consumer, tf_keras.layers.Concatenate) or not has_numbers(consumer):
            return None
        entries.append(f"{consumer.name}_input_{len(entries)}")
        return quantize_annotate_layer(tf_keras.layers.Activation("linear", name=entries[-1]))

    def wrap(layer: Layer) -> Layer:
        return quantize_annotate_layer(layer) if layer.name in chosen else layer

    return rebuild(model, wrap, between), entries


def _producers(layer: Layer) -> dict[str, Any]:
    nodes = layer.inbound_nodes
    made_by = [each for node in nodes for each in tf.nest.flatten(node.inbound_layers)]
    return {producer.name: producer for producer in made_by}
