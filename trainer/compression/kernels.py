"""The kernels of a model: the large trained weights that compression is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
import tf_keras

_Function = TypeVar("_Function", bound=Callable[..., Any])

PRUNED = 0.25
"""From this share of zeros on a kernel, or a model, counts as pruned."""

_NAMES = ("kernel", "embeddings")  # As Keras ends their names: kernel, pointwise_kernel, ...


def leaves(model: tf_keras.Model) -> Iterator[tf_keras.layers.Layer]:
    """The layers of a model, in order, with those of nested models in their place."""
    for layer in model.layers:
        if isinstance(layer, tf_keras.Model):
            yield from leaves(layer)
        else:
            yield layer


def replace_leaves(
    model: tf_keras.Model,
    make: Callable[[tf_keras.layers.Layer], tf_keras.layers.Layer],
) -> tf_keras.Model:
    """The model with `make(layer)` in place of each layer; it may return the layer itself."""

    def replace(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        return replace_leaves(layer, make) if isinstance(layer, tf_keras.Model) else make(layer)

    cloned = without_autograph(model, tf_keras.models.clone_model)
    return cloned(model, clone_function=replace)


def without_autograph(model: tf_keras.Model, function: _Function) -> _Function:
    """A function that builds or trains on a model, with its layers' Python left as it is.

    TF-MOT's wrappers and Keras's layers have TensorFlow's own control flow; translating them takes
    longer than a short training (seen: a third of a pruned candidate's time). With layers of the
    user's, which may need it, the function is given back unchanged.
    """
    modules = {type(layer).__module__.split(".")[0] for layer in leaves(model)}
    if modules <= {"tf_keras", "tensorflow_model_optimization", "trainer"}:
        return tf.autograph.experimental.do_not_convert(function)
    return function


def kernels(model: tf_keras.Model) -> dict[str, np.ndarray]:
    """The values of the trained kernels (of Dense, of convolutions, tables of Embedding) by name.

    Frozen layers are left out: the label's unit and one-hot tables are no trained weights. Of a
    layer in quantization-aware training it is what the layer computes with, so its fake-quantized
    kernel.
    """
    found = {}
    for layer in leaves(model):
        quantized = {
            variable.name: quantizer(variable, False, weights=quantizer_variables)
            for variable, quantizer, quantizer_variables in getattr(layer, "_weight_vars", [])
        }
        for variable in layer.trainable_weights:
            name = variable.name.split(":")[0]
            if name.endswith(_NAMES):
                found[name] = np.asarray(quantized.get(variable.name, variable))
    return found


def groups_of_four(kernel: np.ndarray) -> np.ndarray:
    """A kernel [..., inputs, outputs] as [N, 4]: four inputs in turn that feed the same output.

    These are the groups of the 2:4 pattern (Mishra et al., 2021), as TF-MOT and sparse tensor
    cores count them; a last group of fewer inputs is filled with zeros.
    """
    rows = np.moveaxis(kernel, -2, -1)
    short = -rows.shape[-1] % 4
    return np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, short)]).reshape(-1, 4)
