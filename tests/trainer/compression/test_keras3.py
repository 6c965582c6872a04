"""Keras 3 models in tf_keras and back: same answers, and refusals that name the layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import AssayError, ConfigError
from trainer.compression import keras3

RNG = np.random.default_rng(5)
TABLE: dict[str, np.ndarray] = {
    "n": RNG.normal(size=(40, 6)).astype(np.float32),
    "shop": RNG.integers(0, 9, (40, 1)),
    "word": RNG.integers(0, 9, (40, 5)),
}
IMAGES: dict[str, np.ndarray] = {"image": RNG.normal(size=(8, 12, 12, 3)).astype(np.float32)}


def table(k: Any, layers: Any) -> Any:
    """Most layers that tabular and text models have, one of them shared."""
    n, shop = k.Input((6,), name="n"), k.Input((1,), dtype="int64", name="shop")
    word = k.Input((5,), dtype="int64", name="word")
    words = layers.Embedding(9, 4)(word)
    read = layers.Concatenate()([layers.LSTM(3)(words), layers.GRU(3)(words)])
    shared = layers.Dense(6, "tanh", kernel_regularizer=k.regularizers.L2(0.01), name="shared")
    twice = layers.Add()([shared(shared(n)), layers.Rescaling(0.5, 0.1)(n)])
    x = layers.Concatenate()([twice, layers.Flatten()(layers.Embedding(9, 3)(shop)), read])
    x = layers.LayerNormalization()(layers.BatchNormalization()(x))
    x = layers.LeakyReLU(0.2)(layers.Dense(8, use_bias=False)(x))
    x = layers.Dropout(0.3)(layers.PReLU()(layers.GaussianNoise(0.1)(x)))
    x = layers.Multiply()([x, layers.Softmax()(layers.Dense(8, trainable=False, name="still")(x))])
    return k.Model({"n": n, "shop": shop, "word": word}, layers.Dense(1, "sigmoid")(x), name="net")


def image(k: Any, layers: Any) -> Any:
    """Most layers that networks for images have, as a Sequential."""
    return k.Sequential(
        [
            k.Input((12, 12, 3), name="image"),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.ReLU(max_value=6.0),
            layers.DepthwiseConv2D(3),
            layers.SeparableConv2D(5, 3, activation="gelu"),
            layers.SpatialDropout2D(0.1),
            layers.ZeroPadding2D(1),
            layers.MaxPooling2D(),
            layers.Conv2DTranspose(3, 2),
            layers.UpSampling2D(),
            layers.AveragePooling2D(2),
            layers.Reshape((-1, 3)),
            layers.Conv1D(4, 2),
            layers.MaxPooling1D(),
            layers.Permute((2, 1)),
            layers.GlobalAveragePooling1D(),
            layers.Activation("elu"),
            layers.Dense(3, "softmax"),
        ],
        name="net",
    )


def shaken(model: Any) -> Any:
    """Every weight is moved, so that none is what an initializer would have made of it."""
    rng = np.random.default_rng(1)
    model.set_weights([w + rng.uniform(0.05, 0.2, w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize(("build", "rows"), [(table, TABLE), (image, IMAGES)])
def test_there_and_back_the_answers_are_the_same(
    build: Callable[[Any, Any], Any], rows: dict[str, np.ndarray]
) -> None:
    import keras
    import tf_keras

    source = shaken(build(keras, keras.layers))
    inputs = rows if len(rows) > 1 else rows["image"]
    wanted = np.asarray(source(inputs))
    there = keras3.to_tf_keras(source, rows)
    assert isinstance(there, tf_keras.Model)
    np.testing.assert_allclose(there(rows), wanted, atol=1e-6)
    back = keras3.to_keras3(there, rows)
    assert keras3.is_keras3(back)
    assert not keras3.is_keras3(there)
    np.testing.assert_allclose(back(rows), wanted, atol=1e-6)
    assert [layer.name for layer in there.layers if layer.weights] == [
        layer.name for layer in back.layers if layer.weights
    ]


def test_what_training_needs_comes_with_the_layers() -> None:
    import keras

    there = keras3.to_tf_keras(table(keras, keras.layers), TABLE)
    assert there.name == "net"
    assert not there.get_layer("still").trainable
    assert there.get_layer("shared").kernel_regularizer.l2 == pytest.approx(0.01)
    assert set(there.input_names) == {"n", "shop", "word"}


def test_a_converted_model_can_be_pruned_and_quantized() -> None:
    import keras
    import tensorflow_model_optimization as tfmot

    there = keras3.to_tf_keras(image(keras, keras.layers), IMAGES)
    assert tfmot.sparsity.keras.prune_low_magnitude(there) is not None
    x = keras.Input((6,), name="n")
    dense = keras.Model(x, keras.layers.Dense(1)(keras.layers.Dense(4, "relu")(x)))
    assert tfmot.quantization.keras.quantize_model(keras3.to_tf_keras(dense, TABLE)) is not None


@pytest.mark.parametrize(
    ("body", "said", "where"),
    [
        (lambda k, x: k.layers.UnitNormalization(name="odd")(x), "UnitNormalization", "'odd'"),
        (lambda k, x: x + x, "Add is not on the list", "layer 2 of 3"),
        (
            lambda k, x: k.Sequential([k.Input((6,)), k.layers.Dense(2)], name="inner")(x),
            "Sequential",
            "'inner'",
        ),
        (
            lambda k, x: k.layers.BatchNormalization(renorm=True, name="re")(x),
            "renorm_clipping",
            "'re'",
        ),
        (lambda k, x: k.layers.Dense(2, dtype="mixed_bfloat16", name="b")(x), "bfloat16", "'b'"),
        (
            lambda k, x: k.layers.Dense(2, kernel_constraint="non_neg", name="c")(x),
            "kernel_constraint=NonNeg",
            "'c'",
        ),
    ],
)
def test_what_does_not_convert_is_named_with_its_place(
    body: Callable[[Any, Any], Any], said: str, where: str
) -> None:
    import keras

    x = keras.Input((6,), name="n")
    model = keras.Model(x, keras.layers.Dense(1)(body(keras, x)), name="net")
    with pytest.raises(ConfigError, match=said) as refused:
        keras3.to_tf_keras(model, TABLE)
    assert where in refused.value.where
    assert "model 'net'" in refused.value.where


def test_a_subclassed_model_is_refused() -> None:
    import keras

    class Mine(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(ConfigError, match="subclassed or unbuilt"):
        keras3.to_tf_keras(Mine(), TABLE)


def test_the_way_back_refuses_too() -> None:
    import tf_keras

    x = tf_keras.Input((6,), name="n")
    for y, said in (
        (tf_keras.layers.Lambda(lambda t: 2 * t)(x), "Lambda"),
        (tf_keras.layers.Dropout(0.5)(x, training=True), "called with training"),
        (x + x, "TFOpLambda"),
    ):
        with pytest.raises(ConfigError, match=said):
            keras3.to_keras3(tf_keras.Model({"n": x}, y), TABLE)


def test_a_layer_that_means_something_else_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a wrong entry of the allow-list would do: the comparison on rows catches it."""
    import keras
    import tf_keras

    monkeypatch.setattr(tf_keras.layers, "ELU", tf_keras.layers.PReLU)
    monkeypatch.setitem(keras3._NEUTRAL, "alpha", 1.0)
    x = keras.Input((6,), name="n")
    model = keras.Model(x, keras.layers.ELU()(x), name="net")
    with pytest.raises(AssayError, match="answers differently"):
        keras3.to_tf_keras(model, TABLE)


def test_nan_does_not_pass() -> None:
    import keras

    x = keras.Input((6,), name="n")
    model = keras.Model(x, keras.layers.Dense(2)(x))
    model.set_weights([np.full(w.shape, np.nan) for w in model.get_weights()])
    with pytest.raises(AssayError, match="by nan"):
        keras3.to_tf_keras(model, TABLE)
