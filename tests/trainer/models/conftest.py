"""Rows with a planted interaction, and each family trained on them once a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.models.planted import LAYOUT, TRAIN, model_config, split
from trainer.compression.context import Context
from trainer.config import ModelConfig
from trainer.models.build import LabelScale
from transform.config import TransformConfig


@pytest.fixture(scope="session")
def planted() -> Context:
    import tensorflow as tf

    columns: dict[str, Any] = {f"n{i}": {"kind": "numeric"} for i in range(4)}
    columns |= {"shop": {"kind": "categorical"}, "size": {"kind": "categorical"}}
    config = {
        "features": {"columns": columns},
        "label": {"column": "sold", "classes": ["no", "yes"]},
    }
    train_split, val_split = split("train", 4000, 1), split("val", 1000, 2)
    assert train_split.held is not None
    return Context(
        layout=LAYOUT,
        tft_output=None,
        transform=TransformConfig.model_validate(config),
        model=ModelConfig(),
        train=TRAIN,
        scale=LabelScale(),
        train_split=train_split,
        val_split=val_split,
        strategy=tf.distribute.get_strategy(),
        rows={name: values[:512] for name, values in train_split.held.features.items()},
        folder=Path(),
    )


@pytest.fixture(scope="session")
def trained(planted: Context) -> Callable[[str], Any]:
    """The trained model of a family. Shared: a test must not change its weights."""

    @cache
    def train(family: str) -> Any:
        import tf_keras

        from trainer.fit import compile_model
        from trainer.input import train_batches
        from trainer.models.build import build
        from trainer.step import trace_once

        label, settings = planted.transform.label, planted.train
        tf_keras.utils.set_random_seed(settings.seed)
        model = build(LAYOUT, model_config(family), settings, label, planted.scale, Path())
        compile_model(model, settings, label, planted.scale)
        trace_once(model)
        batches = train_batches(planted.train_split, settings.batch_size, settings.seed, 0)
        model.fit(batches, steps_per_epoch=settings.steps, verbose=0)
        return model

    return train


@pytest.fixture(scope="session")
def auc(planted: Context) -> Callable[[Any], float]:
    """Area under the ROC curve of a model on the validation rows."""
    from sklearn.metrics import roc_auc_score

    held = planted.val_split.held if planted.val_split else None
    assert held is not None

    def measure(model: Any) -> float:
        answers = np.asarray(model.predict(held.features, batch_size=1000, verbose=0))
        return float(roc_auc_score(held.label.ravel(), answers.ravel()))

    return measure
