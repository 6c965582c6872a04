"""Rows whose label follows from products of features, and small networks for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.config import ModelConfig, TrainConfig
from trainer.input import Held, Split
from trainer.models.registry import FAMILIES
from transform.layout import FeatureSpec

# two_tower takes items for a label and nothing else: tests/trainer/recommend.
ANY_LABEL = sorted(set(FAMILIES) - {"two_tower"})
LAYOUT = [
    *(FeatureSpec(f"n{i}_xf", "dense", 1, (1,)) for i in range(4)),
    FeatureSpec("shop_xf", "ids", 13, (1,)),  # More than ONE_HOT_MAX_IDS: an Embedding.
    FeatureSpec("size_xf", "ids", 3, (1,)),
]
# Small ones; of what is not named here, the defaults.
SIZES: dict[str, dict[str, Any]] = {
    "dnn": {"hidden_units": [32, 16]},
    "wide_deep": {"hidden_units": [32, 16]},
    "dcn": {"hidden_units": [16], "dcn": {"cross_layers": 2, "rank": 12}},
    "residual": {"residual": {"blocks": 2, "units": 24}},
    "attention": {"attention": {"blocks": 2, "heads": 2, "token_dim": 8}},
    "ranking": {"hidden_units": [32, 16], "ranking": {"dim": 8}},
}
TRAIN = TrainConfig(steps=400, batch_size=100, learning_rate=5e-3, strategy="default")


def model_config(family: str) -> ModelConfig:
    return ModelConfig.model_validate({"family": family, **SIZES.get(family, {})})


def split(name: str, count: int, seed: int) -> Split:
    """Half of what the label follows from is products, which no sum of features shows."""
    rng = np.random.default_rng(seed)
    n = rng.normal(size=(count, 4)).astype(np.float32)
    shop, size = rng.integers(0, 13, (count, 1)), rng.integers(0, 3, (count, 1))
    shops = np.where(shop[:, 0] < 6, 1.0, -1.0)
    score = 2.5 * n[:, 0] * n[:, 1] + 2.0 * shops * n[:, 2] + n[:, 3] + 1.5 * (size[:, 0] - 1)
    label = (score + rng.logistic(scale=0.3, size=count) > 0).astype(np.int64)[:, None]
    features = {f"n{i}_xf": n[:, i : i + 1] for i in range(4)} | {"shop_xf": shop, "size_xf": size}
    return Split(name, (), LAYOUT, {}, count, Held(features, label))
