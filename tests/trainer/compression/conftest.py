"""A small trained model and its surroundings, once a session: what every method starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.compression.context import Context
from trainer.config import ModelConfig, TrainConfig
from trainer.input import Held, Split
from trainer.models.build import LabelScale
from transform.config import TransformConfig
from transform.layout import FeatureSpec

NUMBERS = [f"n{i}_xf" for i in range(6)]
SHOPS = 13  # More than ONE_HOT_MAX_IDS, so that the model has an Embedding.


def _split(name: str, count: int, seed: int, layout: list[FeatureSpec]) -> Split:
    """Rows whose label follows from four of the numbers (two by their product) and the shop."""
    rng = np.random.default_rng(seed)
    n = rng.normal(size=(count, len(NUMBERS))).astype(np.float32)
    shop = rng.integers(0, SHOPS, (count, 1))
    score = 2 * n[:, 0] - 1.5 * n[:, 1] + 2 * n[:, 2] * n[:, 3] + np.where(shop[:, 0] < 6, 2, -2)
    label = (score + rng.logistic(scale=0.4, size=count) > 0).astype(np.int64)[:, None]
    features = {feature: n[:, i : i + 1] for i, feature in enumerate(NUMBERS)} | {"shop_xf": shop}
    return Split(name, (), layout, {}, count, Held(features, label))


@pytest.fixture(scope="session")
def context() -> Context:
    """2,000 training and 1,000 validation rows of a binary label, on the default strategy."""
    import tensorflow as tf

    layout = [
        *(FeatureSpec(name, "dense", 1, (1,)) for name in NUMBERS),
        FeatureSpec("shop_xf", "ids", SHOPS, (1,)),
    ]
    columns: dict[str, Any] = {name.removesuffix("_xf"): {"kind": "numeric"} for name in NUMBERS}
    columns["shop"] = {"kind": "categorical"}
    config = {
        "features": {"columns": columns},
        "label": {"column": "sold", "task": "binary", "classes": ["no", "yes"]},
    }
    train_split, val_split = _split("train", 2000, 1, layout), _split("val", 1000, 2, layout)
    assert train_split.held is not None
    return Context(
        layout=layout,
        tft_output=None,
        transform=TransformConfig.model_validate(config),
        model=ModelConfig(hidden_units=[64, 32]),
        train=TrainConfig(steps=400, batch_size=100, learning_rate=5e-3, strategy="default"),
        scale=LabelScale(),
        train_split=train_split,
        val_split=val_split,
        strategy=tf.distribute.get_strategy(),
        rows={name: values[:500] for name, values in train_split.held.features.items()},
        folder=Path("."),
    )


@pytest.fixture(scope="session")
def parent(context: Context, auc: Callable[[Any], float]) -> Any:
    """The trained float model. Shared: a test must not change its weights."""
    import tf_keras

    from trainer.fit import compile_model
    from trainer.input import train_batches
    from trainer.models.build import build

    label, train = context.transform.label, context.train
    tf_keras.utils.set_random_seed(train.seed)
    model = build(context.layout, context.model, train, label, context.scale, folder=context.folder)
    compile_model(model, train, label, context.scale)
    batches = train_batches(context.train_split, train.batch_size, train.seed, 0)
    model.fit(batches, steps_per_epoch=train.steps, verbose=0)
    assert auc(model) > 0.93
    return model


@pytest.fixture(scope="session")
def auc(context: Context) -> Callable[[Any], float]:
    """Area under the ROC curve of a model on the validation rows."""
    from sklearn.metrics import roc_auc_score

    held = context.val_split.held if context.val_split else None
    assert held is not None

    def measure(model: Any) -> float:
        return float(roc_auc_score(held.label.ravel(), np.asarray(model(held.features)).ravel()))

    return measure


@pytest.fixture(scope="session")
def images(context: Context) -> Context:
    """600 noisy images of 12 x 12 x 2, whose label says which of two spots is brighter."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(600, 12, 12, 2)).astype(np.float32)
    score = image[:, 2:6, 2:6, 0].mean((1, 2)) - image[:, 6:10, 6:10, 1].mean((1, 2))
    label = (score > 0).astype(np.int64)[:, None]
    layout = [FeatureSpec("image", "image", 288, (12, 12, 2))]
    split = Split("train", (), layout, {}, 600, Held({"image": image}, label))
    train = context.train.model_copy(update={"batch_size": 50})
    rows = {"image": image[:300]}
    return dataclasses.replace(
        context, layout=layout, train_split=split, val_split=None, train=train, rows=rows
    )


@pytest.fixture(scope="session")
def convolutional(images: Context) -> Any:
    """A trained network of the patterns that TF-MOT knows. Shared: no test may change it."""
    import tf_keras

    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(1)
    x = tf_keras.Input((12, 12, 2), name="image")
    y = layers.Conv2D(16, 3, use_bias=False, name="conv")(x)
    y = layers.ReLU(name="conv_relu")(layers.BatchNormalization(name="conv_norm")(y))
    y = layers.BatchNormalization(name="wise_norm")(layers.DepthwiseConv2D(3, name="wise")(y))
    y = layers.Activation("relu", name="wise_relu")(y)
    y = layers.SeparableConv2D(24, 3, activation="relu", name="separable")(y)
    y = layers.ReLU(name="plain_relu")(layers.Conv2D(16, 1, name="plain")(y))
    y = layers.Dense(16, "relu", name="dense")(layers.Flatten()(layers.MaxPooling2D(2)(y)))
    model = tf_keras.Model({"image": x}, layers.Dense(1, "sigmoid", name="head")(y), name="cnn")
    held = images.train_split.held
    assert held is not None
    model.compile(tf_keras.optimizers.Adam(5e-3), "binary_crossentropy")
    model.fit(held.features, held.label, epochs=12, batch_size=50, verbose=0)
    return model


@pytest.fixture(scope="session")
def accuracy(images: Context) -> Callable[[Any], float]:
    """Share of the training images that a model tells right."""
    held = images.train_split.held
    assert held is not None

    def measure(model: Any) -> float:
        return float(((np.asarray(model(held.features)) > 0.5) == held.label).mean())

    return measure
