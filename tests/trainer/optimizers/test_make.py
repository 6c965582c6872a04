"""Each optimizer steps as its paper says, with decay, clipping and averages where they belong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.optimizers.config import TAKES
from trainer.optimizers.lamb import Lamb
from trainer.optimizers.make import make_optimizer

KERNEL = np.array([[0.5, -1.0], [2.0, 0.25]], np.float32)
BIAS = np.array([0.1, -0.2], np.float32)
GRADIENTS = [
    (np.array([[0.3, -0.2], [0.1, 0.4]]), np.array([0.5, -0.1])),
    (np.array([[-0.1, 0.2], [0.6, 0.0]]), np.array([0.2, 0.3])),
    (np.array([[0.2, 0.2], [-0.3, 0.1]]), np.array([-0.4, 0.1])),
]


def stepped(train: dict[str, Any], gradients: Any = GRADIENTS) -> tuple[Any, Any, Any]:
    """Kernel and bias after a step for each gradient, and the optimizer."""
    kernel = tf.Variable(KERNEL, name="layer/kernel")
    bias = tf.Variable(BIAS, name="layer/bias")
    optimizer = make_optimizer(
        TrainConfig.model_validate({"learning_rate": 0.1} | train), [kernel, bias]
    )
    optimizer.build([kernel, bias])
    for of_kernel, of_bias in gradients:
        grads = [tf.constant(g, tf.float32) for g in (of_kernel, of_bias)]
        optimizer.apply_gradients(zip(grads, [kernel, bias], strict=True))
    return kernel.numpy(), bias.numpy(), optimizer


@pytest.mark.parametrize("name", TAKES)
def test_every_optimizer_goes_down_a_bowl(name: str) -> None:
    weights = tf.Variable([[1.0, -2.0], [0.5, 3.0]], name="kernel")
    train = TrainConfig.model_validate({"optimizer": name, "learning_rate": 0.05})
    optimizer = make_optimizer(train, [weights])
    optimizer.build([weights])
    before = float(tf.reduce_sum(weights**2))
    for _ in range(40):
        optimizer.apply_gradients([(2.0 * weights.read_value(), weights)])
    assert float(tf.reduce_sum(weights**2)) < 0.9 * before


def test_lamb_is_the_papers_update() -> None:
    kernel, bias, optimizer = stepped(
        {"optimizer": {"name": "lamb", "weight_decay": 0.02, "beta_1": 0.8, "epsilon": 1e-6}}
    )
    assert isinstance(optimizer, Lamb)

    def of_paper(x: np.ndarray, gradients: list[np.ndarray], *, is_layer: bool) -> np.ndarray:
        x, m, v = x.astype(np.float64), np.zeros(x.shape), np.zeros(x.shape)
        for t, g in enumerate(gradients, 1):
            m = 0.8 * m + 0.2 * g
            v = 0.999 * v + 0.001 * g**2
            r = (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6)
            if is_layer:
                u = r + 0.02 * x
                x = x - 0.1 * np.linalg.norm(x) / np.linalg.norm(u) * u
            else:
                x = x - 0.1 * r
        return x

    for_kernel, for_bias = ([pair[i] for pair in GRADIENTS] for i in (0, 1))
    np.testing.assert_allclose(kernel, of_paper(KERNEL, for_kernel, is_layer=True), rtol=1e-4)
    np.testing.assert_allclose(bias, of_paper(BIAS, for_bias, is_layer=False), rtol=1e-3)


def test_lamb_leaves_zero_weights_and_survives_its_config() -> None:
    weights = tf.Variable(tf.zeros([2, 2]), name="kernel")
    optimizer = Lamb.from_config(Lamb(0.1, beta_1=0.7).get_config())
    assert optimizer.beta_1 == 0.7
    optimizer.build([weights])
    optimizer.apply_gradients([(tf.ones([2, 2]), weights)])
    np.testing.assert_allclose(weights.numpy(), -0.1, rtol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_decay_takes_its_share_of_kernels_and_spares_biases(name: str) -> None:
    zero = [(np.zeros((2, 2)), np.zeros(2))]
    settings = {"name": name, "weight_decay": 0.5}
    kernel, bias, _ = stepped({"optimizer": settings}, zero)
    np.testing.assert_allclose(kernel, KERNEL * (1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(bias, BIAS)
    _, bias, _ = stepped({"optimizer": settings | {"decay_all": True}}, zero)
    np.testing.assert_allclose(bias, BIAS * (1 - 0.1 * 0.5), rtol=1e-6)


@pytest.mark.parametrize(
    ("clip", "of_kernel", "of_bias"),
    [
        ({"value": 0.5}, [[0.5, -0.5], [0.0, 0.5]], [0.5, 0.5]),
        ({"norm": 1.0}, np.array([[3.0, -4.0], [0.0, 12.0]]) / 13, [0.6, 0.8]),
        (
            {"global_norm": 1.0},
            np.array([[3.0, -4.0], [0.0, 12.0]]) / np.sqrt(170),
            np.array([0.6, 0.8]) / np.sqrt(170),
        ),
    ],
    ids=["value", "norm", "global_norm"],
)
def test_gradients_are_clipped(clip: Any, of_kernel: Any, of_bias: Any) -> None:
    gradient = [(np.array([[3.0, -4.0], [0.0, 12.0]]), np.array([0.6, 0.8]))]
    kernel, bias, _ = stepped({"optimizer": "sgd", "clip": clip}, gradient)
    np.testing.assert_allclose(KERNEL - kernel, 0.1 * np.array(of_kernel), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(BIAS - bias, 0.1 * np.array(of_bias), rtol=1e-5)


def test_an_embeddings_gradient_is_clipped_by_the_sum_of_its_rows() -> None:
    table = tf.Variable(tf.zeros([3, 1]), name="embeddings")
    train = TrainConfig.model_validate({"optimizer": "sgd", "clip": {"value": 1.0}})
    optimizer = make_optimizer(train, [table])
    optimizer.build([table])
    twice = tf.IndexedSlices(tf.constant([[0.8], [0.8]]), tf.constant([1, 1]), tf.constant([3, 1]))
    optimizer.apply_gradients([(twice, table)])
    np.testing.assert_allclose(table.numpy()[:, 0], [0.0, -1e-3, 0.0], rtol=1e-6)


def test_averages_follow_the_steps_and_forget_the_start() -> None:
    _, bias, optimizer = stepped({"optimizer": "sgd", "ema": 0.999})
    average, value = BIAS.astype(np.float64), BIAS.astype(np.float64)
    for step, (_, gradient) in enumerate(GRADIENTS, 1):
        value = value - 0.1 * gradient
        kept = min(0.999, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * value
    found = optimizer._model_variables_moving_average[1].numpy()
    np.testing.assert_allclose(found, average, rtol=1e-5)
    np.testing.assert_allclose(bias, value, rtol=1e-5)  # Not overwritten.
