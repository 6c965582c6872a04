"""A model made again answers the same, and has no models inside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import NodeFailed
from trainer.compression.rebuild import rebuild

ROWS = {name: np.random.default_rng(3).normal(size=(9, 8)).astype(np.float32) for name in "xy"}


def nested() -> Any:
    """Models in a model in a model, one called twice, with equal names, and one of two inputs."""
    import tf_keras

    layers = tf_keras.layers
    x, y = tf_keras.Input((8,), name="x"), tf_keras.Input((8,), name="y")
    norm = tf_keras.Sequential([layers.BatchNormalization(name="norm", input_shape=(8,))])
    inner = tf_keras.Sequential(
        [layers.Dense(8, "relu", name="dense", input_shape=(8,)), norm], name="inner"
    )
    a, b = tf_keras.Input((8,), name="a"), tf_keras.Input((8,), name="b")
    minus = tf_keras.Model({"a": a, "b": b}, layers.Subtract(name="minus")([a, b]), name="less")
    dense = layers.Dense(8, name="dense")
    less = minus({"b": inner(dense(dense(x))), "a": inner(y)})
    model = tf_keras.Model({"x": x, "y": y}, layers.Dense(1, name="head")(less * 2.0), name="net")
    model.set_weights([w + 0.1 for w in model.get_weights()])
    return model


def test_models_inside_are_dissolved() -> None:
    model = nested()
    again = rebuild(model)
    names = ["x", "dense", "y", "inner_dense", "norm", "minus", "tf.math.multiply", "head"]
    assert [layer.name for layer in again.layers] == names
    assert again.name == "net"
    assert isinstance(again.input, dict)
    np.testing.assert_allclose(again(ROWS), model(ROWS), rtol=1e-6)
    assert again.count_params() == model.count_params()
    # Its weights are its own.
    again.get_layer("head").kernel.assign(np.zeros((8, 1)))
    assert np.asarray(model.get_layer("head").kernel).any()


def test_layers_are_wrapped_and_put_in_between() -> None:
    import tf_keras

    layers = tf_keras.layers
    between = []

    def doubled(producer: Any, consumer: Any) -> Any:
        if (producer.name, consumer.name) != ("norm", "minus"):
            return None
        between.append(layers.Rescaling(2.0, name=f"twice_{len(between)}"))
        return between[-1]

    model = nested()
    bias = float(np.asarray(model.get_layer("head").bias).item())
    again = rebuild(model, between=doubled)
    assert len(between) == 2
    np.testing.assert_allclose(again(ROWS) - bias, 2 * (model(ROWS) - bias), rtol=1e-5)
    off = rebuild(model, lambda layer: layers.Dropout(0.1) if layer.name == "minus" else layer)
    assert "minus" not in [layer.name for layer in off.layers]


def test_a_frozen_model_inside_may_be_called_at_rest() -> None:
    import tf_keras

    layers = tf_keras.layers
    base = tf_keras.Sequential([layers.BatchNormalization(input_shape=(8,))], name="base")
    x = tf_keras.Input((8,), name="x")
    with pytest.raises(NodeFailed, match="'base' inside the model is called with training") as no:
        rebuild(tf_keras.Model({"x": x}, base(x, training=False)))
    assert "base.trainable = False" in no.value.hint
    base.trainable = False
    again = rebuild(tf_keras.Model({"x": x}, base(x, training=False)))
    assert not again.trainable_weights


def test_a_subclassed_model_inside_is_refused() -> None:
    import tf_keras

    class Own(tf_keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    x = tf_keras.Input((8,), name="x")
    with pytest.raises(NodeFailed, match="'own' inside the model is subclassed"):
        rebuild(tf_keras.Model({"x": x}, Own(name="own")(x)))
