"""Magnitude pruning with TF-MOT: the smallest weights of each kernel become zero and stay zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tf_keras

from tfx_pipeline.errors import NodeFailed
from trainer.compression.candidate import Compressed
from trainer.compression.config import PruneConfig
from trainer.compression.context import Context
from trainer.compression.effects import holds_2_4
from trainer.compression.finetune import clone, finetune
from trainer.compression.kernels import leaves, replace_leaves

# Smaller kernels stay dense: the first convolution of a grey image and the head of a binary label
# are a few hundred bytes, and the accuracy hangs on each of their weights.
_SMALLEST_KERNEL = 256


def prune(parent: tf_keras.Model, config: PruneConfig, context: Context) -> Compressed:
    """Prunes the trained kernels of the layers that TF-MOT can prune.

    The schedule is that of Zhu and Gupta (2017), or constant. A polynomial one reaches its end
    after two thirds of the steps, and the rest lets the remaining weights recover. With 0 steps the
    weights are pruned at once and nothing is trained.

    Args:
        parent: The trained model, which stays as it is.
        config: Sparsity, schedule and pattern.
        context: Rows, strategy, seed.

    Returns:
        A model without wrappers, its zeros counted, and notes on the kernels that stayed dense.

    Raises:
        NodeFailed: There is no kernel to prune, training met NaN, or a kernel has not the pattern.
    """
    from tensorflow_model_optimization.sparsity import keras as sparsity

    start = clone(parent, context)
    left = {layer.name: why for layer in leaves(start) if (why := _left_dense(layer, config))}
    chosen = {layer.name for layer in leaves(start) if _weights(layer) and layer.name not in left}
    notes = tuple(f"{name} left dense: {why}" for name, why in left.items() if why != _FROZEN)
    if not chosen:
        raise NodeFailed(
            f"the model {parent.name!r} has no layer to prune",
            hint="; ".join(notes)
            or "Prune a model with trained Dense, Conv2D or Embedding layers, or drop the "
            "candidate.",
        )
    settings: dict[str, Any] = {"pruning_schedule": _schedule(config)}
    if config.pattern == "2:4":
        settings["sparsity_m_by_n"] = (2, 4)
    if config.pattern == "block":
        settings["block_size"] = config.block_size

    def wrap(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        return sparsity.prune_low_magnitude(layer, **settings) if layer.name in chosen else layer

    with context.strategy.scope():
        wrapped = replace_leaves(start, wrap)
    finetune(
        wrapped,
        context,
        # TF-MOT sets its masks in a training step, so there is one even where none is asked for.
        steps=config.steps or 1,
        learning_rate=config.learning_rate if config.steps else 0.0,
        callbacks=[sparsity.UpdatePruningStep()],
    )
    with context.strategy.scope():
        stripped = sparsity.strip_pruning(wrapped)
    for layer in leaves(stripped):
        if layer.name in chosen:
            for weight in _weights(layer):
                _check(f"{layer.name}/{weight.name}", np.asarray(weight), config)
    return Compressed(clone(stripped, context), notes=notes)


def zero_blocks(kernel: np.ndarray, block_size: tuple[int, int]) -> tuple[int, int]:
    """How many blocks of a kernel [inputs, outputs] are all zeros, and how many there are.

    Blocks start at the first weight; those at the far edges may be smaller.
    """
    rows, columns = block_size
    padded = np.pad(kernel, [(0, -kernel.shape[0] % rows), (0, -kernel.shape[1] % columns)])
    shape = (padded.shape[0] // rows, rows, padded.shape[1] // columns, columns)
    full = (padded.reshape(shape) != 0).any(axis=(1, 3))
    return int((~full).sum()), full.size


_FROZEN = "frozen"


def _weights(layer: tf_keras.layers.Layer) -> list[Any]:
    """The variables of a layer that TF-MOT can prune."""
    from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import (
        PruneRegistry,
    )

    if not hasattr(layer, "get_prunable_weights"):
        if not PruneRegistry.supports(layer):
            return []
        PruneRegistry.make_prunable(layer)
    return list(layer.get_prunable_weights())


def _left_dense(layer: tf_keras.layers.Layer, config: PruneConfig) -> str:
    """Why a layer with large weights is not pruned; "" where it is, or has none."""
    if not any(weight.shape.rank > 1 for weight in layer.weights):
        return ""
    weights = _weights(layer)
    if not layer.trainable_weights:
        return _FROZEN
    if not weights:
        return f"TF-MOT cannot prune layers of type {type(layer).__name__}"
    smallest = min(weight.shape.num_elements() for weight in weights)
    if smallest < _SMALLEST_KERNEL:
        return f"it has only {smallest} weights"
    ranks = {"any": None, "2:4": (2, 4), "block": (2,)}[config.pattern]
    if ranks is None:
        return ""
    fits = all(weight.shape.rank in ranks and weight.shape[-2] >= 4 for weight in weights)
    if isinstance(layer, tf_keras.layers.Embedding) or not fits:
        shape = " x ".join(str(size) for size in weights[0].shape)
        return f"no {config.pattern} pattern in {type(layer).__name__} kernels of {shape}"
    return ""


def _schedule(config: PruneConfig) -> Any:
    from tensorflow_model_optimization.sparsity import keras as sparsity

    # TF-MOT counts steps from 1. Masks are set anew about forty times.
    every = max(1, config.steps // 40)
    end = 1 + config.steps * 2 // 3 // every * every
    if config.schedule == "constant" or end == 1:
        return sparsity.ConstantSparsity(config.sparsity, begin_step=1, frequency=every)
    return sparsity.PolynomialDecay(
        0.0, config.sparsity, begin_step=1, end_step=end, frequency=every
    )


def _check(name: str, kernel: np.ndarray, config: PruneConfig) -> None:
    """A wrapper that was not told of the steps, or a mask lost in stripping, shows only here."""
    if config.pattern == "2:4":
        held, said = holds_2_4(kernel), "more than two of four weights in turn are not zero"
    else:
        if config.pattern == "block":
            zeros, count = zero_blocks(kernel, config.block_size)
        else:
            zeros, count = int((kernel == 0).sum()), kernel.size
        # TF-MOT rounds the number that it keeps, and keeps at least one.
        held = zeros >= min(count - 1, math.floor(config.sparsity * count))
        said = f"{zeros} of {count} are zero, not {config.sparsity:.0%}"
    if not held:
        raise NodeFailed(
            f"pruning did not reach pattern {config.pattern} in {name}: {said}",
            hint="Many weights of the same size cannot be told apart: train the model longer, or "
            "give the candidate more steps.",
        )
