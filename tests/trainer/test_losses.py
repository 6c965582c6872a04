"""Losses against Keras's own and the paper's formula; class weights against scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.config.test_load import GOOD, problem
from tfx_pipeline.errors import ConfigError, DataError
from trainer.config import TrainConfig
from trainer.input import Held, Split
from trainer.losses import check, class_counts, class_weights, make_loss
from transform.config import LabelConfig

BINARY = LabelConfig(column="y", classes=["no", "yes"])
CLASSES = LabelConfig(column="y", task="multiclass", classes=["a", "b", "c"])
NUMBER = LabelConfig(column="y", task="regression")
SEVERAL = LabelConfig(column="y", task="multilabel", classes=["a", "b", "c"])
QUANTILES = LabelConfig(column="y", task="quantile")
GENERATOR = np.random.default_rng(0)

TRUTH = GENERATOR.integers(0, 2, (50, 1))
P = GENERATOR.random((50, 1)).astype(np.float32)
TRUTHS = GENERATOR.integers(0, 3, (50, 1))
PS = GENERATOR.dirichlet(np.ones(3), 50).astype(np.float32)


def loss_of(label: LabelConfig, truth: Any, p: Any, weights: Any = (), **train: Any) -> np.ndarray:
    loss = make_loss(TrainConfig.model_validate(train), label, weights)
    assert callable(loss)
    import tensorflow as tf

    return np.asarray(loss(tf.constant(truth), tf.constant(p)))


def test_the_usual_losses_are_keras_own() -> None:
    assert make_loss(TrainConfig(), BINARY, ()) == "binary_crossentropy"
    assert make_loss(TrainConfig(), CLASSES, ()) == "sparse_categorical_crossentropy"
    assert make_loss(TrainConfig(), NUMBER, ()) == "mse"
    # Weights count only where they are asked for: a calibrated model is fine-tuned without.
    assert make_loss(TrainConfig(), BINARY, (0.5, 2.0)) == "binary_crossentropy"


def test_smoothed_labels_are_those_of_keras() -> None:
    import tf_keras

    got = loss_of(BINARY, TRUTH, P, label_smoothing=0.1)
    want = tf_keras.losses.binary_crossentropy(TRUTH, P, label_smoothing=0.1)
    np.testing.assert_allclose(got, want, rtol=1e-4)
    got = loss_of(CLASSES, TRUTHS, PS, label_smoothing=0.2)
    one_hot = np.eye(3)[TRUTHS[:, 0]]
    want = tf_keras.losses.categorical_crossentropy(one_hot, PS, label_smoothing=0.2)
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_the_focal_loss_is_that_of_the_paper() -> None:
    p_t = np.where(TRUTH == 1, P, 1 - P)[:, 0]
    alpha_t = np.where(TRUTH == 1, 0.25, 0.75)[:, 0]
    got = loss_of(BINARY, TRUTH, P, loss="focal", focal={"gamma": 2.0, "alpha": 0.25})
    np.testing.assert_allclose(got, -alpha_t * (1 - p_t) ** 2 * np.log(p_t), rtol=1e-3, atol=1e-6)
    p_t = PS[np.arange(50), TRUTHS[:, 0]]
    got = loss_of(CLASSES, TRUTHS, PS, loss="focal", focal={"gamma": 1.5})
    np.testing.assert_allclose(got, -((1 - p_t) ** 1.5) * np.log(p_t), rtol=1e-3, atol=1e-6)


def test_a_multilabel_is_the_mean_of_its_classes() -> None:
    has = GENERATOR.integers(0, 2, (50, 3))
    p = GENERATOR.random((50, 3)).astype(np.float32)
    assert make_loss(TrainConfig(), SEVERAL, ()) == "binary_crossentropy"
    for settings in ({"loss": "focal", "focal": {"gamma": 1.5}}, {"label_smoothing": 0.2}):
        alone = [loss_of(BINARY, has[:, [c]], p[:, [c]], **settings) for c in range(3)]
        got = loss_of(SEVERAL, has, p, **settings)
        np.testing.assert_allclose(got, np.mean(alone, axis=0), rtol=1e-5)


def test_pinball_weighs_misses_by_their_side() -> None:
    from sklearn.metrics import mean_pinball_loss

    y = GENERATOR.normal(size=(50, 1))
    estimated = GENERATOR.normal(size=(50, 3)).astype(np.float32)
    got = loss_of(QUANTILES, y, estimated)
    assert got.shape == (50,)
    wanted = [
        mean_pinball_loss(y[:, 0], estimated[:, place], alpha=q)
        for place, q in enumerate(QUANTILES.quantiles)
    ]
    assert got.mean() == pytest.approx(np.mean(wanted), rel=1e-5)


def test_a_row_counts_as_much_as_its_class() -> None:
    weights = (0.5, 1.0, 3.0)
    plain = -np.log(PS[np.arange(50), TRUTHS[:, 0]])
    got = loss_of(CLASSES, TRUTHS, PS, weights, class_weights={"a": 1})
    np.testing.assert_allclose(got, plain * np.take(weights, TRUTHS[:, 0]), rtol=1e-4)
    # Labels that are mixed from two rows count as the mixture of their classes does.
    soft = loss_of(BINARY, np.full((50, 1), 0.25, np.float32), P, (1.0, 5.0), class_weights={})
    entropy = -(0.25 * np.log(P) + 0.75 * np.log(1 - P))[:, 0]
    np.testing.assert_allclose(soft, 2.0 * entropy, rtol=1e-4)


@pytest.mark.parametrize("settings", [{"loss": "focal"}, {"label_smoothing": 0.1}])
def test_a_confident_mistake_has_a_gradient(settings: dict[str, Any]) -> None:
    """In float32 its probability is 0 or 1, and the loss is read off the logits."""
    import tensorflow as tf
    import tf_keras

    logit = tf.Variable([[-60.0]])
    loss = make_loss(TrainConfig.model_validate(settings), BINARY, ())
    assert callable(loss)
    with tf.GradientTape() as tape:
        value = loss(tf.constant([[1]]), tf_keras.activations.sigmoid(logit))
    assert float(value[0]) > 50.0
    assert float(tape.gradient(value, logit)[0, 0]) < -0.8


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1, 2], [70, 20, 10])
    split = Split("train", (), [], {}, 100, Held({}, labels[:, None]))
    counts = class_counts(split, 3)
    assert counts == (70, 20, 10)
    want = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights("balanced", CLASSES, counts), want)
    given = class_weights({"c": 4.0}, CLASSES, counts)
    assert given[2] / given[0] == pytest.approx(4.0)
    assert np.dot(given, counts) == pytest.approx(100)  # So that one learning rate suits.
    with pytest.raises(DataError, match="no training row is of class 'b'"):
        class_weights("balanced", CLASSES, (1, 0, 3))


@pytest.mark.parametrize(
    ("label", "train", "said"),
    [
        (NUMBER, {"loss": "focal"}, "for labels with classes"),
        (NUMBER, {"class_weights": "balanced"}, "for labels with classes"),
        (NUMBER, {"label_smoothing": 0.1}, "for labels with classes"),
        (CLASSES, {"loss": "focal", "focal": {"alpha": 0.3}}, "Give train.class_weights"),
        (
            BINARY,
            {"loss": "focal", "focal": {"alpha": 0.3}, "class_weights": "balanced"},
            "both weigh the classes",
        ),
        (SEVERAL, {"class_weights": "balanced"}, "any number of them"),
        (SEVERAL, {"class_weights": {"a": 2}}, "Drop it"),
        (SEVERAL, {"loss": "focal", "focal": {"alpha": 0.3}}, "a multilabel label has many"),
        (QUANTILES, {"loss": "focal"}, "y is a quantile"),
        (QUANTILES, {"label_smoothing": 0.1}, "for labels with classes"),
        (BINARY, {"class_weights": {"ye": 2}}, "Did you mean 'yes'?"),
        (BINARY, {"class_weights": {"yes": 0}}, "A weight is above 0"),
    ],
)
def test_what_does_not_suit_the_label_is_an_error(
    label: LabelConfig, train: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        check(TrainConfig.model_validate(train), label)
    assert said in f"{raised.value} {raised.value.hint}"


def test_a_loss_that_does_not_exist_is_told_with_the_nearest() -> None:
    assert "Did you mean 'focal'?" in problem(GOOD + "train: {loss: focall}\n")
