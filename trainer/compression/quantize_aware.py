"""Quantization-aware training to int8 with TF-MOT, alone or of a pruned and clustered model."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfx_pipeline.errors import NodeFailed
from trainer.compression.candidate import Compressed
from trainer.compression.cluster import cluster
from trainer.compression.config import ClusterConfig, CollaborativeConfig, PruneConfig, QatConfig
from trainer.compression.context import Context
from trainer.compression.finetune import clone, finetune
from trainer.compression.kernels import PRUNED, kernels
from trainer.compression.prune import prune
from trainer.compression.rebuild import rebuild

if TYPE_CHECKING:
    from trainer.compression.quantize_scheme import Preserve, Ranges


def qat(parent: tf_keras.Model, config: QatConfig, context: Context) -> Compressed:
    """Trains a model with int8 emulated in it.

    Every layer is quantized that TF-MOT can quantize. Where one is in float, what comes out of it
    is quantized on the way into the next. Ranges start as those of `context.rows`.

    Args:
        parent: The trained model, which stays as it is; models inside it are dissolved.
        config: Which layers.
        context: Rows, strategy, seed.

    Returns:
        A model with TF-MOT's quantize wrappers, and notes on the layers left in float.

    Raises:
        ConfigError: `config.layers` names a layer that is not there.
        NodeFailed: There is nothing to quantize, or training met NaN.
    """
    from trainer.compression.quantize_scheme import Preserve

    model, notes = _train(parent, config, context, Preserve(), config.layers)
    if config.layers:
        notes = [f"only {', '.join(config.layers)} to be quantized, as configured", *notes]
    before, after = _zeros(parent), _zeros(model)
    if before >= PRUNED and after < before:
        notes += [f"{before:.0%} of the weights were zero, {after:.0%} are: prune_qat keeps them"]
    return Compressed(model, "int8", tuple(notes))


def collaborate(
    parent: tf_keras.Model, config: CollaborativeConfig, context: Context
) -> Compressed:
    """Prunes, clusters or both, then trains for int8 with the zeros and clusters kept.

    Each of the stages takes `config.steps`. A pruned or clustered layer that stays in float is not
    trained in the last one.

    Args:
        parent: The trained model, which stays as it is.
        config: Which stages, how many zeros, how many values.
        context: Rows, strategy, seed.

    Returns:
        As `qat`, its zeros and values counted on the int8 weights, and the notes of every stage.

    Raises:
        NodeFailed: A stage has no layer to work on, training met NaN, or zeros or clusters are
            lost.
    """
    from trainer.compression.quantize_scheme import Preserve

    stages = config.method.split("_")[:-1]
    steps, rate = config.steps, config.learning_rate
    model = parent
    notes: tuple[str, ...] = ()
    if "prune" in stages:
        pruning = PruneConfig(sparsity=config.sparsity, steps=steps, learning_rate=rate)
        made = prune(model, pruning, context)
        model, notes = made.model, made.notes
    if "cluster" in stages:
        clustering = ClusterConfig(clusters=config.clusters, steps=steps, learning_rate=rate)
        made = cluster(model, clustering, context)
        model, notes = made.model, (*notes, *made.notes)
    preserve = Preserve("prune" in stages, config.clusters if "cluster" in stages else 0)
    trained, more = _train(model, config, context, preserve)
    _check(model, trained)
    return Compressed(trained, "int8", (*notes, *more))


def int8_kernels(model: tf_keras.Model) -> dict[str, np.ndarray]:
    """What int8 stores of each kernel that is trained for it, in the kernel's shape, by name."""
    from trainer.compression.quantize_scheme import stored_int8

    return {
        variable.name.split(":")[0]: stored_int8(variable, quantizer, ranges)
        for variable, quantizer, ranges in _quantized_weights(model)
    }


def _train(
    parent: tf_keras.Model,
    config: QatConfig | CollaborativeConfig,
    context: Context,
    preserve: Preserve,
    only: Collection[str] = (),
) -> tuple[tf_keras.Model, list[str]]:
    """The parent in quantization-aware training, and notes on what is left in float."""
    from trainer.compression.quantizable import by_reason, quantized

    start = clone(parent, context)
    with context.strategy.scope():
        made = quantized(rebuild(start), preserve, only)
    model = made.model
    for wrapper in _wrappers(model):
        if not wrapper.layer.trainable:
            # TF-MOT would train the kernel of a frozen layer.
            wrapper._non_trainable_weights.extend(wrapper._trainable_weights)
            wrapper._trainable_weights.clear()
    _set_ranges(model, made.ranges, context)
    wrapped = _wrappers(model)
    held = [
        layer
        for layer in model.layers
        if layer not in wrapped
        and any(
            w.shape.rank > 1 and preserve.concerns(np.asarray(w)) for w in layer.trainable_weights
        )
    ]
    for layer in held:
        layer.trainable = False
    finetune(model, context, steps=config.steps, learning_rate=config.learning_rate)
    for layer in held:
        layer.trainable = True
    _settle(model, context)
    notes = by_reason(made.left)
    if held:
        names = ", ".join(layer.name for layer in held)
        notes.append(f"{names} not trained for int8: its zeros or clusters would be lost in float")
    return model, notes


def _wrappers(model: tf_keras.Model) -> list[Any]:
    from tensorflow_model_optimization.quantization.keras import QuantizeWrapperV2

    return [layer for layer in model.layers if isinstance(layer, QuantizeWrapperV2)]


def _quantized_weights(model: tf_keras.Model) -> Iterator[tuple[Any, Any, Any]]:
    """Of each quantized kernel the variable, its quantizer and the quantizer's ranges."""
    for wrapper in _wrappers(model):
        yield from wrapper._weight_vars


def _set_ranges(model: tf_keras.Model, ranges: Ranges, context: Context) -> None:
    """Sets the ranges of inputs, weights and activations to those of real rows.

    TF-MOT starts all of them at -6 to 6.
    """
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import (
        QuantizeLayer,
    )

    rows = {name: np.asarray(context.rows[name]) for name in model.input_names}
    for layer in model.layers:
        if isinstance(layer, QuantizeLayer) and layer.quantizer is not None:
            values = rows[layer.inbound_nodes[0].inbound_layers.name]
            layer.quantizer_vars["min_var"].assign(min(0.0, float(values.min())))
            layer.quantizer_vars["max_var"].assign(max(0.0, float(values.max())))
    before = [np.asarray(weight) for weight in model.weights]
    usual, ranges.decay = ranges.decay, 0.0

    @tf.function(autograph=False)
    def forward(given: dict[str, tf.Tensor]) -> None:
        context.strategy.run(lambda inputs: model(inputs, training=True), args=(given,))

    forward({name: tf.constant(values) for name, values in rows.items()})
    ranges.decay = usual
    for weight, value in zip(model.weights, before, strict=True):
        if not weight.name.split(":")[0].endswith(("_min", "_max")):
            weight.assign(value)  # Batch normalization followed the rows, too.


def _settle(model: tf_keras.Model, context: Context) -> None:
    """Gives weights and ranges their last values: a step quantizes before it trains, and each
    replica has seen other inputs."""
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import (
        QuantizeLayer,
    )

    for variable, quantizer, ranges in _quantized_weights(model):
        variable.assign(quantizer.project(variable))
        quantizer(variable, True, weights=ranges)
    for layer in model.layers:
        if isinstance(layer, QuantizeLayer) and layer.quantizer is not None:
            for name, widest in (("min_var", min), ("max_var", max)):
                variable = layer.quantizer_vars[name]
                seen = context.strategy.experimental_local_results(variable)
                variable.assign(widest(float(each) for each in seen))


def _zeros(model: tf_keras.Model) -> float:
    """Share of zeros in the trained kernels."""
    values = list(kernels(model).values())
    total = sum(value.size for value in values)
    return sum(int((value == 0).sum()) for value in values) / max(1, total)


def _check(before: tf_keras.Model, after: tf_keras.Model) -> None:
    """Zeros and clusters that are lost on the way to int8 show only here."""
    from trainer.compression.quantize_scheme import stored_int8

    lost = []
    kept = False
    for variable, quantizer, ranges in _quantized_weights(after):
        name = variable.name.split(":")[0]
        stored = stored_int8(variable, quantizer, ranges)
        kept |= bool(quantizer.zeros.any() or quantizer.values)
        if gone := np.count_nonzero(stored[quantizer.zeros]):
            lost.append(f"{name} has {gone} zeros fewer")
        values = np.unique(stored).size
        if values > (quantizer.values or values):
            lost.append(f"{name} has {values} values, not {quantizer.values}")
    if _zeros(after) < _zeros(before):
        lost.append(f"{_zeros(after):.1%} of the weights are zero, and {_zeros(before):.1%} were")
    if not kept:
        lost.append("no layer that TF-MOT quantizes was pruned or clustered")
    if lost:
        raise NodeFailed(
            f"quantization-aware training did not keep zeros or clusters: {'; '.join(lost)}",
            hint="Quantize the pruned or clustered candidate after training (method int8).",
        )
