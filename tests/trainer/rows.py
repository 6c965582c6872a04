"""Rows in memory with a known answer, and a small network trained on them: no files, no Beam."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import ModelConfig, TrainConfig
from trainer.input import Held, Split
from trainer.models.build import LabelScale
from transform.config import LabelConfig
from transform.layout import FeatureSpec

LABELS = {
    "binary": LabelConfig(column="y", task="binary", classes=["no", "yes"]),
    "multiclass": LabelConfig(column="y", task="multiclass", classes=["a", "b", "c"]),
    "regression": LabelConfig(column="y", task="regression"),
}
LAYOUT = [
    FeatureSpec("size_xf", "dense", 1, (1,)),
    FeatureSpec("speed_xf", "dense", 1, (1,)),
    FeatureSpec("speed_missing_xf", "dense", 1, (1,)),
    FeatureSpec("shop_xf", "ids", 12, (1,)),
    FeatureSpec("review_ids_xf", "bag", 6, (None,), "review_weights_xf"),
]


def split(task: str = "binary", rows: int = 240, seed: int = 1) -> Split:
    """Labels that follow from size, shop and one word of the review."""
    rng = np.random.default_rng(seed)
    size, speed = rng.normal(size=(2, rows, 1)).astype(np.float32)
    shop = rng.integers(0, 12, (rows, 1))
    words = rng.integers(0, 6, (rows, 2))
    score = size[:, 0] + np.where(shop[:, 0] < 6, 1.0, -1.0) + np.where(words[:, 0] < 3, 1, -1)
    label = {
        "binary": (score > 0).astype(np.int64),
        "multiclass": np.digitize(score, [-1.0, 1.0]).astype(np.int64),
        "regression": (100 + 20 * score).astype(np.float32),
    }[task]
    features = {
        "size_xf": size,
        "speed_xf": speed,
        "speed_missing_xf": np.zeros((rows, 1), np.float32),
        "shop_xf": shop,
        "review_ids_xf": words,
        "review_weights_xf": np.array([[1.0, 0.0]] * rows, np.float32),
    }
    return Split("train", (), LAYOUT, {}, rows, Held(features, label[:, np.newaxis]))


def compiled(
    train: TrainConfig, task: str = "binary", hidden: int = 8, layout: Any = None, **model: Any
) -> Any:
    """A small dnn, compiled; the same weights each time."""
    import tf_keras

    from trainer.fit import compile_model
    from trainer.models.build import build

    tf_keras.utils.set_random_seed(train.seed)
    scale = LabelScale(100.0, 20.0) if task == "regression" else LabelScale()
    config = ModelConfig(hidden_units=[hidden], **model)
    built = build(layout or LAYOUT, config, train, LABELS[task], scale, Path())
    compile_model(built, train, LABELS[task], scale)
    return built


def fitted(
    train: TrainConfig, where: Path, task: str = "binary", prepare: Any = None, **more: Any
) -> Any:
    """The model after training."""
    from trainer.fit import fit

    model = compiled(train, task, **more)
    val = split(task, 60, seed=2)
    fit(model, train, split(task), val, str(where), {}, prepare=prepare)
    return model
