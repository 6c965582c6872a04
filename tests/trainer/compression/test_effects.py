"""What is counted on weights that are known, on fake-quantized ones, and on a converted file."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import pytest

from trainer.compression.effects import effects, holds_2_4
from trainer.compression.kernels import kernels


def _model(kernel: np.ndarray, **settings: Any) -> Any:
    import tf_keras

    inputs = tf_keras.Input((kernel.shape[0],), name="x")
    layer = tf_keras.layers.Dense(kernel.shape[1], name="dense", **settings)
    model = tf_keras.Model(inputs, layer(inputs))
    layer.set_weights([kernel, np.zeros(kernel.shape[1], np.float32)])
    return model


def _tflite(model: Any, rows: np.ndarray | None = None) -> bytes:
    """With rows: weights and activations in int8."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if rows is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row[None]] for row in rows)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def test_zeros_and_values_are_counted() -> None:
    kernel = np.array([[0, 1, 2], [0, 0, 2]], np.float32)
    assert effects(_model(kernel), None) == {
        "parameters": 9,
        "sparsity": 0.5,
        "distinct_values": 3,
    }


def test_frozen_layers_and_biases_are_no_kernels(parent: Any) -> None:
    assert effects(_model(np.eye(8, dtype=np.float32), trainable=False), None) == {
        "parameters": 72,
        "sparsity": 0,
        "distinct_values": 0,
    }
    assert list(kernels(parent)) == [
        "shop_xf_embedding/embeddings",
        "hidden_0/kernel",
        "hidden_1/kernel",
        "head/kernel",
    ]
    found = effects(parent, None)
    assert found["parameters"] == parent.count_params() == 3100
    assert found["sparsity"] < 0.01
    assert found["distinct_values"] > 1000


@pytest.mark.parametrize(
    ("column", "holds"),
    [
        ([1, 1, 0, 0, 0, 0, 1, 1], True),
        ([0, 1, 1, 1, 0, 0, 0, 0], False),  # Three in the first four; half are zero all the same.
        ([0, 0, 1, 1, 1, 1, 0, 0, 1, 1], True),  # Four in turn, but no group has three.
        ([1, 1, 0], False),  # No group of four.
    ],
)
def test_the_2_4_pattern_goes_along_the_inputs(column: list[float], holds: bool) -> None:
    kernel = np.array([column], np.float32).T
    assert holds_2_4(kernel) is holds
    assert holds_2_4(np.stack([[kernel]] * 2)) is holds  # [height, width, inputs, outputs]
    share = effects(_model(kernel), None).get("pattern_2_4")
    assert share == (1.0 if holds else None)


def test_nested_models_are_counted() -> None:
    import tf_keras

    inner = _model(np.array([[0, 1], [2, 3]], np.float32))
    inputs = tf_keras.Input((2,))
    found = effects(tf_keras.Model(inputs, inner(inputs)), None)
    assert found == {"parameters": 6, "sparsity": 0.25, "distinct_values": 4}


def test_a_core_has_its_size_and_its_int8_tensors() -> None:
    model, rows = _model(_random(64, 32)), _random(50, 64)
    plain, int8 = _tflite(model), _tflite(model, rows)
    of_plain, of_int8 = effects(model, plain), effects(model, int8)
    assert of_plain["core_bytes"] == len(plain)
    assert of_plain["core_gzip_bytes"] == len(gzip.compress(plain, 9, mtime=0))
    assert of_plain["int8_tensors"] == 0
    assert of_int8["int8_tensors"] == 3  # Input, kernel, output; the ends of the core are float.
    assert of_int8["core_bytes"] < 0.5 * of_plain["core_bytes"]


def test_of_quantization_aware_training_it_is_the_quantized_kernel() -> None:
    from tensorflow_model_optimization.quantization.keras import quantize_model

    kernel = _random(64, 32)
    kernel[:, :8] = 0
    plain = _model(kernel)
    model = quantize_model(plain)
    model.get_layer("quant_dense").trainable = True
    model(_random(10, 64), training=True)  # Sets the ranges.
    found = effects(model, None)
    assert found["parameters"] == plain.count_params()
    assert 0.25 <= found["sparsity"] < 0.3
    assert 100 < found["distinct_values"] <= 255
