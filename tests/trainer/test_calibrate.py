"""Calibration: known miscalibration is undone, exactly and at no cost to the graph."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import ConfigError
from trainer.calibrate import calibrate, check, ece, fit, log_loss
from trainer.config import ModelConfig, TrainConfig
from trainer.input import Held, Split
from transform.config import LabelConfig

BINARY = LabelConfig(column="y", classes=["no", "yes"])
CLASSES = LabelConfig(column="y", task="multiclass", classes=["a", "b", "c"])
NUMBER = LabelConfig(column="y", task="regression")
QUANTILES = LabelConfig(column="y", task="quantile")


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def test_a_known_scale_and_shift_are_found() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, (40_000, 1))
    truth = (rng.random(40_000) < sigmoid(0.4 * z[:, 0] - 1.0)).astype(np.int64)
    scale, shift = fit(z, truth, shifted=True)
    assert scale == pytest.approx(0.4, abs=0.02)
    assert shift == pytest.approx(-1.0, abs=0.04)
    alone, none = fit(z, truth, shifted=False)
    assert none == 0
    assert log_loss(sigmoid(alone * z), truth) < log_loss(sigmoid(z), truth)


def test_a_known_temperature_is_found() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(0, 3, (40_000, 3))
    p = np.exp(z / 2.5)
    p /= p.sum(axis=1, keepdims=True)
    truth = (rng.random((40_000, 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    scale, _ = fit(z, truth, shifted=False)
    assert 1 / scale == pytest.approx(2.5, abs=0.05)


def test_rows_without_a_fault_do_not_drive_it_to_infinity() -> None:
    z = np.array([[-3.0], [-1.0], [1.0], [3.0]])
    scale, shift = fit(z, np.array([0, 0, 1, 1]), shifted=True)
    assert scale == 20.0
    assert np.isfinite(shift)
    # A model that is wrong throughout is not turned around.
    assert fit(z, np.array([1, 1, 0, 0]), shifted=False)[0] == pytest.approx(1 / 20)


def overconfident(outputs: int, activation: str) -> tuple[Any, Split, LabelConfig]:
    """A model whose logits are three times as large as they should be."""
    import tf_keras

    rng = np.random.default_rng(2)
    x = rng.normal(size=(4000, 4)).astype(np.float32)
    kernel = rng.normal(size=(4, outputs)).astype(np.float32)
    z = x @ kernel
    if outputs == 1:
        truth = (rng.random(4000) < sigmoid(z[:, 0])).astype(np.int64)
    else:
        truth = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
    inputs = tf_keras.Input((4,), name="x_xf")
    model = tf_keras.Model(
        {"x_xf": inputs}, tf_keras.layers.Dense(outputs, activation, name="head")(inputs)
    )
    model.get_layer("head").set_weights([3 * kernel, np.full(outputs, 0.5, np.float32)])
    split = Split("val", (), [], {}, 4000, Held({"x_xf": x}, truth[:, None]))
    return model, split, BINARY if outputs == 1 else CLASSES


@pytest.mark.parametrize(
    ("outputs", "activation", "how"),
    [(1, "sigmoid", "temperature"), (1, "sigmoid", "platt"), (3, "softmax", "temperature")],
)
def test_it_is_folded_into_the_head(
    outputs: int, activation: str, how: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model, split, label = overconfident(outputs, activation)
    assert split.held is not None
    before, layers = model.predict(split.held.features, verbose=0), model.count_params()
    train = TrainConfig(calibrate=how)
    with caplog.at_level(logging.INFO, "trainer.calibrate"):
        done = calibrate(model, train, label, split)
    assert done is not None
    now, truth = model.predict(split.held.features, verbose=0), split.held.label[:, 0]
    if outputs == 1:
        logits = np.log(before.astype(np.float64)) - np.log1p(-before.astype(np.float64))
        inside = np.abs(logits[:, 0]) < 10  # Beyond, a float32 has lost the logit.
        want = sigmoid(done.scale * logits + done.shift)
        np.testing.assert_allclose(now[inside], want[inside], atol=1e-4)
    else:
        powers = before.astype(np.float64) ** done.scale
        np.testing.assert_allclose(now, powers / powers.sum(axis=1, keepdims=True), atol=1e-4)
    assert (now.argmax(axis=1) == before.argmax(axis=1)).all()
    assert model.count_params() == layers
    assert done.log_loss[1] == pytest.approx(log_loss(now.astype(float), truth), abs=1e-5)
    assert done.log_loss[1] < done.log_loss[0] - 0.02
    assert done.ece[1] == pytest.approx(ece(now.astype(float), truth), abs=2e-3)
    assert done.ece[1] < done.ece[0] / 2
    assert "log loss" in caplog.text
    assert "expected calibration error" in caplog.text


@pytest.mark.parametrize("how", ["temperature", "platt"])
def test_each_class_of_a_multilabel_by_itself(how: Any) -> None:
    import tf_keras

    rng = np.random.default_rng(3)
    x, kernel = rng.normal(size=(4000, 4)), rng.normal(size=(4, 3))
    has = (rng.random((4000, 3)) < sigmoid(x @ kernel)).astype(np.int64)
    has[:, 2] = 0  # Says nothing, and stays as it is.
    wrong, off = np.array([0.5, 3.0, 1.0], np.float32), np.array([1.0, -1.0, 0.0], np.float32)
    inputs = tf_keras.Input((4,), name="x_xf")
    model = tf_keras.Model({"x_xf": inputs}, tf_keras.layers.Dense(3, "sigmoid")(inputs))
    model.layers[-1].set_weights([kernel * wrong, off])
    split = Split("val", (), [], {}, 4000, Held({"x_xf": x.astype(np.float32)}, has))
    label = LabelConfig(column="y", task="multilabel", classes=["a", "b", "c"])
    done = calibrate(model, TrainConfig(calibrate=how), label, split)
    assert done is not None
    assert done.log_loss[1] < done.log_loss[0] - 0.02
    assert done.ece[1] < done.ece[0]
    scaled, bias = model.layers[-1].get_weights()
    np.testing.assert_allclose(scaled[:, 2], kernel[:, 2], rtol=1e-6)
    if how == "platt":
        np.testing.assert_allclose(done.scale[:2], [2.0, 1 / 3], rtol=0.2)
        np.testing.assert_allclose(bias, 0.0, atol=0.15)


def test_the_validation_loss_never_gets_worse() -> None:
    model, split, label = overconfident(1, "sigmoid")
    train = TrainConfig(calibrate="platt")
    first = calibrate(model, train, label, split)
    assert first is not None
    losses = [first.log_loss[1]]
    for _ in range(3):
        weights = model.get_weights()
        again = calibrate(model, train, label, split)
        assert again is not None
        assert again.log_loss[1] <= losses[-1]
        losses.append(again.log_loss[1])
    # At the end there is nothing left to win, and the weights stay what they are, to the bit.
    assert losses[-1] == losses[-2]
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("label", "how", "split", "said"),
    [
        (BINARY, "platt", None, "needs a validation split, and there is none"),
        (NUMBER, "temperature", None, "the label is a number"),
        (QUANTILES, "platt", None, "the label is a number"),
        (CLASSES, "platt", None, "platt is for a binary label"),
    ],
)
def test_what_cannot_be_calibrated_is_an_error(
    label: LabelConfig, how: Any, split: Any, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        check(TrainConfig(calibrate=how), label, split)


def test_a_users_model_has_to_end_in_a_dense_layer() -> None:
    import tf_keras

    _, split, label = overconfident(1, "sigmoid")
    x = tf_keras.Input((4,), name="x_xf")
    z = tf_keras.layers.Dense(1)(x)
    model = tf_keras.Model({"x_xf": x}, tf_keras.layers.Activation("sigmoid")(z))
    with pytest.raises(ConfigError, match="folded into a last Dense layer"):
        calibrate(model, TrainConfig(calibrate="platt"), label, split)


def test_a_users_model_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    from tests.trainer import rows
    from tests.trainer.conftest import config_of
    from trainer.loading import Loaded, TrainerConfig
    from trainer.models.build import LabelScale
    from trainer.run import build_compiled

    (tmp_path / "mine.py").write_text(
        "import tf_keras\n"
        "def build_model(features, config):\n"
        "    x = tf_keras.Input((1,), name='size_xf')\n"
        "    z = tf_keras.layers.Dense(1)(x)\n"
        "    return tf_keras.Model({'size_xf': x}, tf_keras.layers.Activation('sigmoid')(z))\n"
    )
    label = {"column": "sold", "task": "binary", "classes": ["no", "yes"]}
    model, split = ModelConfig(builder="mine.py:build_model"), rows.split()
    data = Loaded(None, rows.LAYOUT, split, split, LabelScale())

    def built(**train: Any) -> Any:
        config = TrainerConfig(config_of(label), model, TrainConfig(**train), tmp_path)
        return build_compiled(config, data)

    assert built().optimizer is not None
    with pytest.raises(ConfigError, match="folded into a last Dense layer"):
        built(calibrate="platt")


@pytest.mark.slow
def test_balanced_classes_and_platt_give_true_probabilities(binary: Any, tmp_path: Path) -> None:
    """From config to the exported model: weights pull the answers to one half, Platt back."""
    import tensorflow as tf

    from trainer.run import run_fn

    means = {}
    for how in ("none", "platt"):
        train = TrainConfig(
            steps=200,
            steps_per_epoch=100,
            batch_size=64,
            learning_rate=0.02,
            class_weights={"yes": 20.0},
            calibrate=how,
            tensorboard=False,
        )
        fn_args = binary.fn_args(tmp_path / how, ModelConfig(family="linear"), train)
        run_fn(fn_args)
        served = tf.saved_model.load(fn_args.serving_model_dir).signatures["serving_default"]
        got = served(examples=tf.constant(binary.examples("eval", 200, label=False)))
        means[how] = float(np.mean(got["predictions"]))
    truth = float(np.mean(binary.raw["eval"]["sold"] == "yes"))
    assert means["none"] > truth + 0.1
    assert means["platt"] == pytest.approx(truth, abs=0.08)
