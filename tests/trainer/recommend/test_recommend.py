"""A two-tower model from raw rows to top-k ids: it finds what each group likes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.recommend.choices import FEATURES, NAMES, World, recall_at, split
from trainer.compression.context import Context
from trainer.config import ModelConfig, TrainConfig
from trainer.models.build import LabelScale
from trainer.models.layers import HEAD

pytestmark = pytest.mark.slow  # Data through TFT and training: seconds each.


def test_recommends_what_the_users_group_likes(
    films: Any, answered: dict[str, np.ndarray], truth: World
) -> None:
    group = np.array([int(name[1:]) for name in films.raw["eval"]["group"]])
    item = np.array([NAMES.index(name) for name in films.raw["eval"]["item"]])
    counts = np.array([(films.raw["train"]["item"] == name).sum() for name in NAMES])
    popular = recall_at(10, np.tile(counts, (len(item), 1)), item)
    best = recall_at(10, truth.chosen[group], item)
    found = recall_at(10, answered["predictions"], item)
    # 0.64, where the most popular items alone come to 0.48 and the rule itself to 0.67.
    assert found > popular + 0.1
    assert found > best - 0.06
    served = (answered["top_ids"].astype(str) == np.array(NAMES)[item][:, None]).any(axis=1)
    assert served.mean() == pytest.approx(found)


def test_the_top_ids_are_those_of_brute_force_over_the_towers(
    films: Any, answered: dict[str, np.ndarray], keras_model: Any
) -> None:
    """Every user's vector times every item's in numpy, from features that TFT transformed."""
    import tensorflow_transform as tft
    import tf_keras

    from trainer.input import expand, read
    from transform.layout import layout

    output = tft.TFTransformOutput(films.graph)
    features = layout(films.config, output)
    spec = output.transformed_feature_spec()
    rows = read("eval", expand(films.files("eval")), features, spec, cache_max_mb=64).held
    head = keras_model.get_layer(HEAD)
    users = tf_keras.Model(keras_model.input, head.input).predict(dict(rows.features), verbose=0)
    items, bias = head.get_weights()
    np.testing.assert_array_equal(bias, 0)
    np.testing.assert_allclose(np.linalg.norm(users, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(items, axis=0), 1 / 0.1, rtol=1e-5)
    scores = users @ items
    top = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    ids = np.array(NAMES)[top]
    assert answered["top_ids"].shape == (1000, 10)
    same = answered["top_ids"].astype(str) == ids
    # Where two scores differ in their last digit alone, either order is right.
    gaps = -np.diff(np.sort(-scores, axis=1)[:, :11], axis=1).min(axis=1)
    assert same.all(axis=1)[gaps > 1e-4].all()
    assert recall_at(10, scores, rows.label[:, 0]) == pytest.approx(
        recall_at(10, answered["predictions"], rows.label[:, 0])
    )
    chosen = np.take_along_axis(answered["predictions"], top, axis=1)
    np.testing.assert_allclose(answered["top_scores"], chosen, atol=1e-6)
    np.testing.assert_array_equal(answered["class"], answered["top_ids"][:, 0])
    np.testing.assert_allclose(answered["predictions"].sum(axis=1), 1, atol=1e-5)


def test_the_reloaded_model_and_the_export_answer_the_same(
    films: Any, recommender: Any, answered: dict[str, np.ndarray], keras_model: Any
) -> None:
    import tensorflow as tf

    served = tf.saved_model.load(recommender.serving_model_dir)
    examples = tf.constant(films.examples("eval", 50, label=True))
    inputs = served.signatures["transform_features"](examples)
    label = inputs.pop("label_xf")[:, 0].numpy()
    assert [NAMES[i] for i in label] == films.raw["eval"]["item"][:50].tolist()
    np.testing.assert_allclose(keras_model(inputs), answered["predictions"][:50], atol=1e-6)
    described = json.loads(
        (Path(recommender.serving_model_dir) / "assets.extra/assay_signature.json").read_text()
    )
    assert described["outputs"] == ["predictions", "class", "top_ids", "top_scores"]


def test_tf_mot_takes_all_but_the_embedding_and_the_length(films: Any, keras_model: Any) -> None:
    import tensorflow as tf

    from tests.trainer.recommend.choices import world
    from trainer.compression.config import PruneConfig, QatConfig
    from trainer.compression.prune import prune
    from trainer.compression.quantize_aware import qat

    rows = split(world(), 600, 9)
    assert rows.held is not None
    context = Context(
        layout=FEATURES,
        tft_output=None,
        transform=films.config,
        model=ModelConfig(family="two_tower"),
        train=TrainConfig(batch_size=100, strategy="default"),
        scale=LabelScale(),
        train_split=rows,
        val_split=rows,
        strategy=tf.distribute.get_strategy(),
        rows={name: values[:256] for name, values in rows.held.features.items()},
        folder=Path(),
    )
    made = qat(keras_model, QatConfig(steps=0), context)
    named = [note.partition(" left in float: ")[0] for note in made.notes]
    kinds = {type(keras_model.get_layer(n)).__name__ for names in named for n in names.split(", ")}
    assert kinds == {"Embedding", "UnitNormalization"}
    pruned = prune(keras_model, PruneConfig(sparsity=0.5, steps=0), context)
    head = pruned.model.get_layer(HEAD).get_weights()[0]
    assert (head == 0).mean() > 0.49
