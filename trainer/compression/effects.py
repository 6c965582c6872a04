"""What compression did to a model: counted on its weights and on its converted core."""

from __future__ import annotations

import gzip

import numpy as np
import tf_keras

from trainer.compression.kernels import groups_of_four, kernels, leaves


def effects(model: tf_keras.Model, core: bytes | None) -> dict[str, float]:
    """Measures a candidate's weights and its TFLite core.

    Args:
        model: The candidate; with the quantize wrappers of TF-MOT where it has them.
        core: The converted core, if there is one.

    Returns:
        `parameters`: weights of the model, without the ranges that quantize wrappers keep.
        `sparsity`: share of zeros in the trained kernels (0 to 1).
        `distinct_values`: of the trained kernel that has the most.
        `pattern_2_4`: share of the kernels' weights that stand in kernels with the 2:4 pattern;
        only where there are any.
        `core_bytes`, `core_gzip_bytes`: size of the core, plain and gzipped; only with a core.
        `int8_tensors`: tensors of the core that are int8, weights and activations; only with one.
    """
    values = list(kernels(model).values())
    total = max(1, sum(value.size for value in values))
    found: dict[str, float] = {
        "parameters": _parameters(model),
        "sparsity": sum(int((value == 0).sum()) for value in values) / total,
        "distinct_values": max((np.unique(value).size for value in values), default=0),
    }
    if in_pattern := sum(value.size for value in values if holds_2_4(value)):
        found["pattern_2_4"] = in_pattern / total
    if core is not None:
        found["core_bytes"] = len(core)
        # Level 9 and no time of day: as `gzip -9n`, the same on every run.
        found["core_gzip_bytes"] = len(gzip.compress(core, 9, mtime=0))
        found["int8_tensors"] = _int8_tensors(core)
    return found


def holds_2_4(kernel: np.ndarray) -> bool:
    """Whether no four inputs in turn have more than two weights that are not zero.

    A kernel of fewer than four inputs has no such group, and does not hold the pattern.
    """
    if kernel.ndim < 2 or kernel.shape[-2] < 4:
        return False
    return bool((np.count_nonzero(groups_of_four(kernel), axis=1) <= 2).all())


def _parameters(model: tf_keras.Model) -> int:
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import (
        QuantizeLayer,
    )
    from tensorflow_model_optimization.quantization.keras import QuantizeWrapper

    count = 0
    for layer in leaves(model):
        if isinstance(layer, QuantizeLayer):
            continue
        weights = [*layer.trainable_weights, *layer.non_trainable_weights]
        if isinstance(layer, QuantizeWrapper):
            # It keeps the ranges and its step beside the layer's own weights, and takes the kernel.
            kernels = [variable for variable, *_ in layer._weight_vars]
            weights = [*layer.trainable_weights, *layer.layer.non_trainable_weights, *kernels]
        by_id = {id(variable): variable for variable in weights}
        count += sum(variable.shape.num_elements() for variable in by_id.values())
    return count


def _int8_tensors(core: bytes) -> int:
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_content=core).get_tensor_details()
    return sum(detail["dtype"] is np.int8 for detail in details)
