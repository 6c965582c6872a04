"""A functional model made again, layer by layer: without nested models, and with layers changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf
import tf_keras

from tfx_pipeline.errors import NodeFailed

Layer: TypeAlias = tf_keras.layers.Layer


def rebuild(
    model: tf_keras.Model,
    wrap: Callable[[Layer], Layer] = lambda layer: layer,
    between: Callable[[Layer, Layer], Layer | None] = lambda producer, consumer: None,
) -> tf_keras.Model:
    """A model of copies of the layers, with their weights; it answers as `model` does.

    Nested models are dissolved: TF-MOT quantizes no model inside another. A layer that is called
    twice is one copy that is called twice.

    Args:
        model: A functional model or a built Sequential, and so every model within it.
        wrap: Given the copy of a layer; what is called in its place.
        between: Given the original layer that makes a tensor and the one that takes it; a layer to
            put between the two, or None.

    Returns:
        A functional model of the same inputs. The layers of nested models keep their names where
        no other has them, and else begin with their model's.

    Raises:
        NodeFailed: A nested model is subclassed, or is called in a way of its own.
    """
    inputs = {
        id(tensor): tf_keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    }
    copies: dict[int, tuple[Layer, Layer, Layer]] = {}  # By id: original, copy, wrapped.
    names = set(model.input_names)

    def copied(layer: Layer, scope: str) -> Layer:
        if id(layer) not in copies:
            config = layer.get_config()
            if layer.name in names:
                config["name"] = f"{scope}_{layer.name}"
            names.add(config["name"])
            copy = type(layer).from_config(config)
            copies[id(layer)] = layer, copy, wrap(copy)
        return copies[id(layer)][2]

    def run(part: tf_keras.Model, tensors: dict[int, Any]) -> Any:
        def made(value: Any, consumer: Layer) -> Any:
            if id(value) not in tensors:
                return value
            tensor = tensors[id(value)]
            extra = between(producers[id(tensor)][0], consumer)
            return tensor if extra is None else extra(tensor)

        for depth in sorted(part._nodes_by_depth, reverse=True):
            for node in part._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                layer = node.layer
                if isinstance(layer, tf_keras.Model):
                    given = [tensors[id(value)] for value in _arguments_of_model(node)]
                    inner = {id(t): x for t, x in zip(layer.inputs, given, strict=True)}
                    result = run(layer, inner)
                else:
                    args, kwargs = tf.nest.map_structure(
                        lambda value, layer=layer: made(value, layer),
                        (node.call_args, node.call_kwargs),
                    )
                    result = copied(layer, part.name)(*args, **kwargs)
                    for tensor in tf.nest.flatten(result):
                        producers[id(tensor)] = layer, tensor
                for old, new in zip(
                    tf.nest.flatten(node.outputs), tf.nest.flatten(result), strict=True
                ):
                    tensors[id(old)] = new
        return tf.nest.map_structure(lambda tensor: tensors[id(tensor)], part.output)

    # Of every new tensor, also across nested models: the original layer. The tensor beside it keeps
    # its id from being given to another.
    producers: dict[int, tuple[Layer, Any]] = {
        id(inputs[id(tensor)]): (tensor.node.layer, inputs[id(tensor)]) for tensor in model.inputs
    }
    outputs = run(model, dict(inputs))
    structure = tf.nest.map_structure(lambda tensor: inputs[id(tensor)], model.input)
    again = tf_keras.Model(structure, outputs, name=model.name)
    for original, copy, _ in copies.values():
        copy.set_weights(original.get_weights())
    return again


def _arguments_of_model(node: Any) -> list[Any]:
    """The tensors that a nested model is called on, in the order of its inputs."""
    model = node.layer
    if not model.inputs:
        raise NodeFailed(
            f"the model {model.name!r} inside the model is subclassed: its layers are unknown",
            hint="Build it with tf_keras.Model(inputs, output), of tf_keras.Input(...) on.",
        )
    extra = {key: value for key, value in node.call_kwargs.items() if value is not None}
    # In a frozen model batch normalization is at rest by itself.
    if extra.get("training") is False and not model.trainable_weights:
        del extra["training"]
    if extra or len(node.call_args) != 1:
        raise NodeFailed(
            f"the model {model.name!r} inside the model is called with "
            f"{', '.join(extra) or 'several arguments'}, which its layers alone cannot be",
            hint=f"Set {model.name}.trainable = False before it is called with training=False, or "
            "call its layers one by one.",
        )
    return list(tf.nest.flatten(node.call_args[0]))
