"""Two towers and ranking on choices with a known rule, and what a step costs.

    .venv/bin/python benchmarks/recommend.py [--seed 17]

Retrieval: 8 groups of users choose among 120 items (`tests/trainer/recommend/choices.py`): an item
is taken in proportion to its popularity, which falls as 1 / rank ** skew, and 20 times as often by
the group that likes it. 4,000 rows to learn from, 4,000 others to measure on. Ranking: 300 users
and 200 items with a hidden taste and quality of 4 floats each; 20,000 rows. Steps: of 256 rows,
with Adam, at random items.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[0] = str(Path(__file__).absolute().parent.parent)

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras  # noqa: E402

from tests.trainer.recommend import choices  # noqa: E402
from tfx_pipeline.gates.measures import measure  # noqa: E402
from trainer import fit  # noqa: E402
from trainer.config import ModelConfig, TrainConfig  # noqa: E402
from trainer.input import Held, Split  # noqa: E402
from trainer.models.build import LabelScale, build  # noqa: E402
from trainer.models.registry import family_loss, served  # noqa: E402
from trainer.recommend.catalog import Catalog, in_batch_softmax  # noqa: E402
from trainer.recommend.config import TwoTowerConfig  # noqa: E402
from trainer.recommend.items import without_features  # noqa: E402
from transform.config import LabelConfig  # noqa: E402
from transform.layout import FeatureSpec  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=17, help="seed of the weights and batches")
    seed = parser.parse_args().seed
    for skew in (1.0, 1.5):
        retrieval(skew, seed)
    ranking(seed)
    for count in (1_000, 50_000):
        steps(count)


def retrieval(skew: float, seed: int) -> None:
    """recall@10 and log loss of the in-batch softmax beside its neighbours."""
    truth = choices.world(skew)
    rows, test = choices.split(truth, 4000, 1), choices.split(truth, 4000, 2)
    item, group = test.held.label[:, 0], test.held.features["group_xf"][:, 0]
    print(f"\nretrieval, popularity 1 / rank ** {skew:g}: recall@10, log loss on 4,000 rows")
    share = np.bincount(rows.held.label[:, 0], minlength=choices.ITEMS) + 0.5
    _print("the most popular items", np.tile(share / share.sum(), (len(item), 1)), item)
    train = TrainConfig(
        steps=600, steps_per_epoch=600, batch_size=128, learning_rate=0.01, seed=seed
    )
    for name, log_q, whole in (
        ("in-batch softmax", False, False),
        ("in-batch softmax, log Q", True, False),
        ("softmax over all items", True, True),
    ):
        model = ModelConfig(
            family="two_tower", hidden_units=[16], two_tower=TwoTowerConfig(log_q=log_q)
        )
        made = trained(model, train, choices.LABEL, choices.FEATURES, rows, whole)
        _print(name, made.predict(dict(test.held.features), batch_size=1000, verbose=0), item)
    _print("the rule itself", truth.chosen[group], item)


def ranking(seed: int) -> None:
    """AUC of products of embeddings beside dense layers, where the label is such a product."""
    rng = np.random.default_rng(1)
    taste, kind = rng.normal(size=(300, 4)), rng.normal(size=(200, 4))

    def split(count: int) -> tuple[Split, np.ndarray]:
        user, item = rng.integers(0, 300, (count, 1)), rng.integers(0, 200, (count, 1))
        odds = 1.5 * (taste[user[:, 0]] * kind[item[:, 0]]).sum(axis=1)
        liked = (odds + rng.logistic(size=count) > 0).astype(np.int64)[:, None]
        held = Held({"user_xf": user, "item_xf": item}, liked)
        return Split("train", (), layout, {}, count, held), odds

    layout = [FeatureSpec("user_xf", "ids", 300, (1,)), FeatureSpec("item_xf", "ids", 200, (1,))]
    (rows, _), (test, odds) = split(20_000), split(4000)
    label, truth = LabelConfig(column="liked", classes=["no", "yes"]), test.held.label[:, 0]
    best = measure("binary", truth, 1 / (1 + np.exp(-odds[:, None])))
    print(f"\nranking, 20,000 rows: AUC on 4,000 (the rule itself: {best['auc']:.3f})")
    train = TrainConfig(
        steps=1000, steps_per_epoch=1000, batch_size=128, learning_rate=0.003, seed=seed
    )
    for family in ("linear", "dnn", "dcn", "ranking"):
        model = ModelConfig(family=family, hidden_units=[32, 16])
        made = trained(model, train, label, layout, rows, False)
        answers = made.predict(dict(test.held.features), batch_size=1000, verbose=0)
        print(f"  {family:28}{measure('binary', truth, answers)['auc']:.3f}", flush=True)


def trained(
    model: ModelConfig,
    train: TrainConfig,
    label: LabelConfig,
    layout: Any,
    rows: Split,
    whole: bool,
) -> tf_keras.Model:
    """The served form of a trained model; `whole`: with the softmax over all items."""
    train = train.model_copy(update={"tensorboard": False})
    tf_keras.utils.set_random_seed(train.seed)
    built = build(layout, model, train, label, LabelScale(), Path())
    loss = None if whole else family_loss(built, model, train, label, rows)
    fit.compile_model(built, train, label, LabelScale(), loss)
    with tempfile.TemporaryDirectory() as folder:
        fit.fit(built, train, rows, None, folder, {})
    return served(built, model)


def steps(count: int) -> None:
    """Milliseconds of a step, in-batch and over the whole catalog."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256 * 40, 16)).astype(np.float32)
    y = rng.integers(0, count, (256 * 40, 1))
    found = {}
    for name in ("in batch", "whole catalog"):
        catalog = Catalog(without_features(count), TwoTowerConfig(), "relu", 16, name="items")
        given = tf_keras.Input((16,))
        model = tf_keras.Model(given, catalog(tf_keras.layers.Dense(32)(given)))
        loss = in_batch_softmax(catalog, [1] * count)
        whole = "sparse_categorical_crossentropy"
        loss = loss if name == "in batch" else whole
        model.compile(tf_keras.optimizers.Adam(0.01), loss=loss, steps_per_execution=20)
        model.fit(x, y, batch_size=256, verbose=0)
        start = time.perf_counter()
        model.fit(x, y, batch_size=256, verbose=0)
        found[name] = (time.perf_counter() - start) / 40 * 1e3
    times = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
    print(f"\nms a step of 256 rows, {count:,} items: {times}", flush=True)


def _print(name: str, predictions: np.ndarray, item: np.ndarray) -> None:
    found = measure("multiclass", item, predictions)
    print(f"  {name:28}{found['recall_at_10']:.3f}  {found['log_loss']:.3f}", flush=True)


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    main()
