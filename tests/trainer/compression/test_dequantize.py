"""The core's weights in the layouts of Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainer.compression.dequantize import holding, stored


@pytest.fixture(scope="module")
def model() -> Any:
    """Every kind of kernel that TFLite lays out in its own way."""
    import tf_keras

    tf_keras.utils.set_random_seed(4)
    layers = tf_keras.layers
    image = tf_keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, activation="relu", name="conv")(image)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = layers.SeparableConv2D(12, 3, name="separable")(x)
    x = layers.Conv1D(5, 3, name="conv1d")(layers.Reshape((-1, 12))(x))
    word = tf_keras.Input((1,), dtype="int64", name="word")
    table = layers.Flatten()(layers.Embedding(40, 8, name="table")(word))
    x = layers.Concatenate()([layers.Flatten()(x), table])
    return tf_keras.Model({"image": image, "word": word}, layers.Dense(9, name="dense")(x))


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {"image": rng.random((20, 16, 16, 3), np.float32), "word": rng.integers(0, 40, (20, 1))}


def _convert(model: Any, numbers: str, rows: dict[str, Any]) -> bytes:
    import tensorflow as tf

    specs = [
        tf.TensorSpec([None, *values.shape[1:]], values.dtype, name=name)
        for name, values in rows.items()
    ]

    @tf.function(input_signature=specs, autograph=False)
    def core(image: Any, word: Any) -> dict[str, Any]:
        return {"predictions": model({"image": image, "word": word}, training=False)}

    module = tf.Module()
    module.variables_of_the_model = model.variables
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [core.get_concrete_function()], module
    )
    if numbers != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if numbers == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if numbers == "int8":
        converter.representative_dataset = lambda: (
            {name: values[i : i + 1] for name, values in rows.items()} for i in range(20)
        )
    content: bytes = converter.convert()
    return content


@pytest.mark.parametrize(
    ("numbers", "step"), [("float32", 0.0), ("float16", 2**-10), ("int8", 4.0)]
)
def test_every_kernel_is_found_in_its_layout(
    model: Any, rows: dict[str, Any], numbers: str, step: float
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    core = _convert(model, numbers, rows)
    values, missing = stored(model, core)
    assert missing == []
    kernels = {
        i: w.numpy() for i, w in enumerate(model.weights) if w.shape.rank and w.shape.rank > 1
    }
    assert values.keys() == kernels.keys()
    assert len(kernels) == 7
    for index, kernel in kernels.items():
        # A table's rows are quantized with the step of what they are concatenated with.
        largest = np.abs(kernel).max() / (127 if numbers == "int8" else 1)
        assert values[index].shape == kernel.shape
        assert np.abs(values[index] - kernel).max() <= step * largest
    changed = sum(not np.array_equal(values[index], kernels[index]) for index in kernels)
    assert changed == (0 if numbers == "float32" else 7)

    runner = Interpreter(model_content=core).get_signature_runner()
    answers = np.array(runner(**rows)["predictions"])
    before = np.asarray(model(rows))
    with holding(model, values):
        within = np.asarray(model(rows))
    np.testing.assert_array_equal(np.asarray(model(rows)), before)
    if numbers == "float32":
        np.testing.assert_array_equal(within, before)
    else:
        assert np.abs(within - answers).mean() < np.abs(before - answers).mean()


def test_the_weights_come_back_after_a_failure(model: Any) -> None:
    before = model.get_weights()
    with pytest.raises(RuntimeError), holding(model, {0: before[0] + 1}):
        raise RuntimeError
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
