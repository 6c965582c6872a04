"""Choices of items through TFT, and a two-tower model trained on them, once a session."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import Transformed, transform
from tests.trainer.recommend.choices import LABEL, NAMES, World, choices, world
from trainer.config import ModelConfig, TrainConfig
from transform.config import TransformConfig

MODEL = ModelConfig(family="two_tower", hidden_units=[16])
TRAIN = TrainConfig(
    steps=400, steps_per_epoch=200, batch_size=128, learning_rate=0.01, tensorboard=False
)


@pytest.fixture(scope="session")
def truth() -> World:
    return world()


@pytest.fixture(scope="session")
def films(truth: World, tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """Who took which of 120 items: 3,000 training rows, 1,000 of eval."""

    def rows(count: int, seed: int) -> Mapping[str, np.ndarray]:
        group, item = choices(truth, count, seed)
        noise = np.random.default_rng(seed).normal(size=count).astype(np.float32)
        names = np.array(NAMES)[item]
        return {"group": np.array([f"g{g}" for g in group]), "noise": noise, "item": names}

    columns = {"group": {"kind": "categorical"}, "noise": {"kind": "numeric"}}
    config = TransformConfig.model_validate(
        {"features": {"columns": columns}, "label": LABEL.model_dump()}
    )
    splits = {"train": rows(3000, 1), "val": rows(200, 2), "eval": rows(1000, 3)}
    return transform(tmp_path_factory.mktemp("films"), config, splits)


@pytest.fixture(scope="session")
def recommender(films: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`fn_args` of a finished `run_fn`."""
    from trainer.run import run_fn

    fn_args = films.fn_args(tmp_path_factory.mktemp("two_tower"), MODEL, TRAIN)
    run_fn(fn_args)
    return fn_args


@pytest.fixture(scope="session")
def answered(films: Transformed, recommender: Any) -> dict[str, np.ndarray]:
    """What the export answers to the raw rows of the split `eval`."""
    import tensorflow as tf

    served = tf.saved_model.load(recommender.serving_model_dir).signatures["serving_default"]
    examples = films.examples("eval", 1000, label=False)
    return {name: value.numpy() for name, value in served(tf.constant(examples)).items()}


@pytest.fixture(scope="session")
def keras_model(recommender: Any) -> Any:
    from trainer.keras_model import load_keras

    return load_keras(Path(recommender.model_run_dir) / "keras_model.h5", [None], Path())
