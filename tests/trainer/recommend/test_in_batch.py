"""The softmax over a batch's own items, corrected for how often they are in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.processes import last_line
from tests.trainer.recommend.choices import (
    FEATURES,
    GROUPS,
    ITEMS,
    LABEL,
    World,
    recall_at,
    split,
    world,
    write_items,
)
from tfx_pipeline.errors import ConfigError, DataError
from trainer.config import ModelConfig, TrainConfig
from trainer.input import Held, Split
from trainer.models import two_tower
from trainer.models.build import LabelScale, build
from trainer.models.registry import family_loss
from trainer.recommend.config import TwoTowerConfig
from trainer.recommend.items import read_items, without_features
from transform.config import LabelConfig

ROOT = Path(__file__).parents[3]
TRAIN = TrainConfig(
    steps=300, steps_per_epoch=300, batch_size=128, learning_rate=0.01, tensorboard=False
)


def test_the_loss_and_its_gradients_are_the_formulas() -> None:
    """Against equations 4 and 5 of the paper in numpy; duplicates in the batch count each."""
    import tensorflow as tf

    from trainer.recommend.catalog import Catalog, in_batch_softmax

    rng = np.random.default_rng(0)
    counts = [50, 30, 15, 5]
    users = rng.normal(size=(5, 3)).astype(np.float32)
    ids = np.array([0, 0, 1, 3, 0])
    catalog = Catalog(
        without_features(4), TwoTowerConfig(dim=3, normalize=False, temperature=0.5), "relu", 16
    )
    given = tf.Variable(users)
    with tf.GradientTape() as tape:
        predictions = catalog(given, training=True)
        losses = in_batch_softmax(catalog, counts)(tf.constant(ids[:, None]), predictions)
    d_users, d_rows = tape.gradient(losses, [given, *catalog.trainable_weights])
    [table] = [weight.numpy() for weight in catalog.trainable_weights]

    log_q = np.log(np.array(counts) / 100)
    scores = users @ table[ids].T / 0.5 - log_q[ids]
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(losses, -np.log(np.diag(p)), rtol=1e-5)
    moved = (p - np.eye(5)) / 0.5
    np.testing.assert_allclose(d_users, moved @ table[ids], rtol=1e-4, atol=1e-6)
    expected = np.zeros_like(table)
    np.add.at(expected, ids, moved.T @ users)
    np.testing.assert_allclose(tf.convert_to_tensor(d_rows), expected, rtol=1e-4, atol=1e-5)

    # Outside of training: over the whole catalog.
    answer = catalog(given, training=False)
    whole = in_batch_softmax(catalog, counts)(tf.constant(ids[:, None]), answer)
    np.testing.assert_allclose(whole, -np.log(answer.numpy()[np.arange(5), ids]), rtol=1e-5)


def trained(
    truth: World,
    where: Path,
    rows: Split | None = None,
    steps: int = TRAIN.steps,
    **sizes: Any,
) -> Any:
    """The served form of a small model, trained in memory."""
    import tf_keras

    from trainer.fit import compile_model, fit

    model = ModelConfig.model_validate(
        {"family": "two_tower", "hidden_units": [16], "two_tower": sizes}
    )
    train = TRAIN.model_copy(update={"steps": steps, "steps_per_epoch": steps})
    rows = rows or split(truth, 4000, 1)
    tf_keras.utils.set_random_seed(train.seed)
    built = build(FEATURES, model, train, LABEL, LabelScale(), where)
    loss = family_loss(built, model, train, LABEL, rows)
    compile_model(built, train, LABEL, LabelScale(), loss)
    fit(built, train, rows, split(truth, 200, 3, "val"), str(where / "run"), {})
    served = two_tower.served(built)
    first = {name: values[:64] for name, values in rows.held.features.items()}
    np.testing.assert_allclose(served(first), built(first), atol=1e-5)
    return served


@pytest.mark.slow
def test_without_the_correction_popular_items_are_recommended_too_little(tmp_path: Path) -> None:
    truth = world(skew=1.5)
    held = split(truth, 2000, 2).held
    item = held.label[:, 0]
    found, shares = {}, {}
    for log_q in (True, False):
        model = trained(truth, tmp_path / str(log_q), log_q=log_q)
        predictions = model.predict(dict(held.features), batch_size=512, verbose=0)
        found[log_q] = recall_at(10, predictions, item)
        shares[log_q] = predictions[:, truth.popularity.argmax()].mean()
    # 0.80 and 0.43; the most popular items alone come to 0.73.
    assert found[True] > found[False] + 0.25
    share = truth.chosen[:, truth.popularity.argmax()].mean()
    assert shares[True] == pytest.approx(share, rel=0.25)
    assert shares[False] < share / 4


@pytest.mark.slow
def test_items_that_nobody_has_taken_are_known_by_their_features(
    truth: World, tmp_path: Path
) -> None:
    write_items(tmp_path / "items.csv", truth)
    rows = split(truth, 6000, 1)
    new = np.arange(ITEMS) % 3 == 0
    kept = ~new[rows.held.label[:, 0]]
    held = Held({n: v[kept] for n, v in rows.held.features.items()}, rows.held.label[kept])
    seen = Split("train", (), FEATURES, {}, int(kept.sum()), held)
    model = trained(truth, tmp_path, seen, items="items.csv")
    groups = {
        "group_xf": np.arange(GROUPS)[:, None],
        "noise_xf": np.zeros((GROUPS, 1), np.float32),
    }
    predictions = model.predict(groups, verbose=0)
    liked = truth.genre == np.arange(GROUPS)[:, None]
    own = np.array([predictions[g, new & liked[g]].mean() for g in range(GROUPS)])
    other = np.array([predictions[g, new & ~liked[g]].mean() for g in range(GROUPS)])
    # 10 times as much in the mean; the rule says 20, and without item_prior_rows it is 5.
    assert own.mean() > 6 * other.mean()
    assert (own > 1.5 * other).all()


REPLICAS = """
import json, sys
from pathlib import Path
from trainer.config import ModelConfig, TrainConfig
from trainer.strategy import configure_devices, make_strategy
two = TrainConfig(steps=6, steps_per_epoch=6, batch_size=16, logical_cpus=2, tensorboard=False)
configure_devices(two)
import tf_keras
from tests.trainer.recommend.choices import FEATURES, LABEL, split, world
from trainer import fit
from trainer.models.build import LabelScale, build
from trainer.models.registry import family_loss
model = ModelConfig(family="two_tower", hidden_units=[8])
rows, found = split(world(), 100, 1), []
for train in (two.model_copy(update={"logical_cpus": 0}), two):
    strategy = make_strategy(train)
    with strategy.scope():
        tf_keras.utils.set_random_seed(3)
        built = build(FEATURES, model, train, LABEL, LabelScale(), Path())
        loss = family_loss(built, model, train, LABEL, rows)
        fit.compile_model(built, train, LABEL, LabelScale(), loss)
        built.optimizer = tf_keras.optimizers.SGD(0.1)
        fit.fit(built, train, rows, None, f"{sys.argv[1]}/{train.logical_cpus}", {})
    found.append((strategy.num_replicas_in_sync, [w.tolist() for w in built.get_weights()]))
print(json.dumps(found))
"""


@pytest.mark.slow
def test_two_replicas_see_the_items_of_the_whole_batch(tmp_path: Path) -> None:
    (one, weights), (two, others) = json.loads(last_line(REPLICAS, tmp_path))
    assert (one, two) == (1, 2)
    for first, second in zip(weights, others, strict=True):
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-5)


def test_a_label_that_is_no_item_is_refused() -> None:
    label = LabelConfig(column="y", classes=["no", "yes"])
    with pytest.raises(ConfigError, match="the label is binary") as caught:
        build(FEATURES, ModelConfig(family="two_tower"), TRAIN, label, LabelScale(), Path())
    assert "family: ranking" in caught.value.hint


@pytest.mark.parametrize(
    "field", [{"mixup": 0.2}, {"label_smoothing": 0.1}, {"class_weights": "balanced"}]
)
def test_what_changes_another_loss_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"train.{next(iter(field))} does not go with"):
        two_tower.check(TrainConfig.model_validate(field))


def test_items_are_read_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(
        "year,film,genre\n2000,b,drama\n,a,\n2002,c,action\n1990,unknown,drama\n"
    )
    items = read_items(tmp_path / "items.csv", ["a", "b", "c"], "film")
    assert items.count == 3
    np.testing.assert_allclose(items.numbers, [[0.0], [-1.0], [1.0]])
    [(ids, size)] = items.categories.values()
    assert (list(items.categories), size, len(set(ids.tolist()))) == (["genre"], 3, 3)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (None, ConfigError, "cannot be read"),
        ("film,genre\na,x\n", DataError, "1 of 2 items have no row, among them 'b'"),
        ("film,genre\na,x\nb,y\nb,z\n", DataError, "'b' has two rows"),
        ("film,genre\na,x,1\nb,y\n", ConfigError, "line 2 has not 2 columns"),
    ],
)
def test_bad_items_are_named(
    tmp_path: Path, text: str | None, error: type[Exception], said: str
) -> None:
    if text is not None:
        (tmp_path / "items.csv").write_text(text)
    with pytest.raises(error, match=said) as caught:
        read_items(tmp_path / "items.csv", ["a", "b"], "film")
    assert "items.csv" in caught.value.where
    assert caught.value.hint
