"""A marked layer's update is its share of the full one: exactly with SGD, and with Adam too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def model(seed: int = 1) -> Any:
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    layers = tf_keras.layers
    names = ["low", "high", "head"]
    inner = tf_keras.Sequential([layers.Dense(4, name=name) for name in names[:2]], name="inner")
    x = tf_keras.Input((3,))
    return tf_keras.Model(x, layers.Dense(1, name=names[2])(inner(x)))


def steps(optimizer: Any, decay: float, count: int, eagerly: bool = True) -> dict[str, np.ndarray]:
    """The change of each kernel in `count` steps."""
    from trainer import layer_rates

    made = model()
    inner = made.get_layer("inner").layers
    layer_rates.mark([[layer] for layer in inner], decay)
    before = {layer.name: layer.get_weights()[0] for layer in [*inner, made.layers[-1]]}
    made.compile(optimizer, "mse", run_eagerly=eagerly)
    made.optimizer.build(made.trainable_variables)
    layer_rates.apply(made)
    if decay < 1:
        assert layer_rates.rates(made) == pytest.approx({"high": decay, "low": decay**2})
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(8, 3)), rng.normal(size=(8, 1))
    made.fit(rows, targets, batch_size=8, epochs=count, verbose=0)
    after = {layer.name: layer.get_weights()[0] for layer in [*inner, made.layers[-1]]}
    return {name: after[name] - before[name] for name in before}


@pytest.mark.parametrize("name", ["SGD", "Adam", "Lion"])
def test_one_step_is_a_share_of_the_full_one(name: str) -> None:
    import tf_keras

    optimizer = getattr(tf_keras.optimizers, name)
    full, scaled = steps(optimizer(0.1), 1.0, 1), steps(optimizer(0.1), 0.5, 1)
    np.testing.assert_array_equal(scaled["head"], full["head"])
    np.testing.assert_allclose(scaled["high"], 0.5 * full["high"], atol=2e-7)
    np.testing.assert_allclose(scaled["low"], 0.25 * full["low"], atol=2e-7)
    assert np.abs(full["low"]).max() > 1e-3


def test_with_adam_it_is_a_learning_rate_of_its_own() -> None:
    """Scaled gradients would change nothing: Adam divides their scale away again."""
    import tf_keras

    many = steps(tf_keras.optimizers.Adam(1e-4), 0.1, 5, eagerly=False)
    assert np.abs(many["high"]).max() == pytest.approx(0.1 * np.abs(many["head"]).max(), rel=0.1)


def test_without_a_mark_the_optimizer_stays_as_it_is() -> None:
    import tf_keras

    from trainer import layer_rates

    made = model()
    layer_rates.mark([made.layers], 1.0)
    made.compile(tf_keras.optimizers.SGD(), "mse")
    before = made.optimizer.update_step
    layer_rates.apply(made)
    assert made.optimizer.update_step == before
