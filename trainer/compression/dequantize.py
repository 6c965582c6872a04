"""A model's kernels with the values that its quantized core stores for them.

A server without LiteRT runs the SavedModel's own graph. With these weights its answers differ from
the core's by the rounding of activations only, and not by that of the weights as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

Array = np.ndarray[Any, Any]

_HALF_STEP = 2.0**-11  # of float16, relative to the value


def stored(model: tf_keras.Model, core: bytes) -> tuple[dict[int, Array], list[str]]:
    """The values of a model's kernels as the core stores them.

    A tensor of the core belongs to a kernel if, laid out alike, all its values are within one step
    of quantization of the kernel's. So a kernel that the converter changed (folded a batch
    normalization into, say) is not mistaken for another.

    Args:
        model: What the core was converted from.
        core: The TFLite model.

    Returns:
        Position in `model.weights` to float32 values, and the names of the kernels (weights of two
        dimensions and more) that no tensor belongs to: those the core holds in float32, too, are
        not among them.
    """
    tensors = list(_constants(core))
    found: dict[int, Array] = {}
    missing: list[str] = []
    for index, weight in enumerate(model.weights):
        kernel = weight.numpy()
        if kernel.ndim < 2 or kernel.dtype != np.float32:
            continue
        near = [
            values
            for stored_values, step in tensors
            for values, steps in zip(
                _layouts(stored_values, kernel.shape), _layouts(step, kernel.shape), strict=True
            )
            if (np.abs(values - kernel) <= steps).all()
        ]
        if near:
            found[index] = min(near, key=lambda values: float(np.abs(values - kernel).sum()))
        else:
            missing.append(weight.name)
    return found, missing


@contextmanager
def holding(model: tf_keras.Model, values: Mapping[int, Array]) -> Iterator[None]:
    """Within the context the model's weights, by position, have other values."""
    weights: list[tf.Variable] = model.weights
    before = {index: weights[index].numpy() for index in values}
    try:
        for index, value in values.items():
            weights[index].assign(value)
        yield
    finally:
        for index, value in before.items():
            weights[index].assign(value)


def _constants(core: bytes) -> Iterator[tuple[Array, Array]]:
    """The weights that a TFLite model holds: values, and how far off each may be by rounding."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=core,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    for tensor in interpreter.get_tensor_details():
        if tensor["dtype"] not in (np.int8, np.float16, np.float32) or len(tensor["shape"]) < 2:
            continue
        try:
            values = interpreter.get_tensor(tensor["index"])
        except ValueError:  # It is not constant, and nothing is allocated.
            continue
        if tensor["dtype"] != np.int8:
            exact = values.astype(np.float32)
            half = tensor["dtype"] == np.float16
            yield exact, np.abs(exact) * (2 * _HALF_STEP if half else 0) + (1e-7 if half else 0)
            continue
        quantization = tensor["quantization_parameters"]
        shape = np.ones(values.ndim, int)
        shape[quantization["quantized_dimension"]] = -1
        if not len(quantization["scales"]):
            continue
        scale = quantization["scales"].reshape(shape if len(quantization["scales"]) > 1 else [1])
        zero = quantization["zero_points"].reshape(scale.shape)
        steps = (values.astype(np.float32) - zero) * scale
        yield steps.astype(np.float32), np.broadcast_to(scale, values.shape)


def _layouts(values: Array, shape: tuple[int, ...]) -> list[Array]:
    """A tensor of TFLite in the layouts of Keras that have this shape."""
    ways = [values]
    if values.ndim == 2:
        ways.append(values.T)  # Dense: units first
    if values.ndim == 4:
        filters_last = np.moveaxis(values, 0, -1)
        ways += [filters_last, filters_last[0]]  # convolutions, and those in one dimension
    if values.ndim == 4 and values.shape[0] == 1 and values.size == np.prod(shape):
        ways.append(values.reshape(shape))  # depthwise
    return [way for way in ways if way.shape == shape]
