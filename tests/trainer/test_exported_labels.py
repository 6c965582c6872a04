"""Several classes a row, and quantiles, through TFT and `run_fn`: what the export answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import transform
from trainer.config import ModelConfig, TrainConfig
from transform.config import TransformConfig

pytestmark = pytest.mark.slow  # Data through TFT and training: seconds each.

TOPICS = ["sport", "politics", "film & art"]
TRAIN = TrainConfig(
    steps=200,
    steps_per_epoch=100,
    batch_size=32,
    learning_rate=0.02,
    cache_max_mb=0,  # Streamed: labels of several columns are cut into batches there, too.
    tensorboard=False,
)


def rows(count: int, seed: int) -> dict[str, np.ndarray]:
    """Two numbers, three topics that follow from them (none where both are small), and a price."""
    rng = np.random.default_rng(seed)
    x, z = rng.uniform(-1, 1, (2, count)).astype(np.float32)
    has = np.stack([x > 0, z > 0.2, x + z > 0.3], axis=1)
    cells = ["|".join(np.array(TOPICS)[row][::-1]) for row in has]
    price = (200 + 50 * x + 10 * rng.normal(size=count)).astype(np.float32)
    return {"x": x, "z": z, "topics": np.array(cells), "price": price}


def trained(folder: Path, label: dict[str, Any]) -> tuple[Any, Any]:
    from trainer.run import run_fn

    columns = {"x": {"kind": "numeric"}, "z": {"kind": "numeric"}}
    config = TransformConfig.model_validate({"features": {"columns": columns}, "label": label})
    splits = {"train": rows(500, 1), "val": rows(100, 2), "eval": rows(200, 3)}
    data = transform(folder, config, splits)
    fn_args = data.fn_args(folder, ModelConfig(hidden_units=[16]), TRAIN)
    run_fn(fn_args)
    return data, fn_args


def answers(data: Any, fn_args: Any) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, Any]]:
    """What the export answers, what the saved Keras model says, and the description."""
    import tensorflow as tf
    import tf_keras

    loaded = tf.saved_model.load(fn_args.serving_model_dir)
    unlabelled = tf.constant(data.examples("eval", 200, label=False))
    found = loaded.signatures["serving_default"](examples=unlabelled)
    labelled = tf.constant(data.examples("eval", 200, label=True))
    made = loaded.signatures["transform_features"](examples=labelled)
    keras = tf_keras.models.load_model(f"{fn_args.model_run_dir}/keras_model.h5")
    said = keras.predict({name: made[name] for name in keras.input_names}, verbose=0)
    described = Path(fn_args.serving_model_dir) / "assets.extra" / "assay_signature.json"
    answered = {name: value.numpy() for name, value in found.items()}
    return answered | {"label": made["label_xf"].numpy()}, said, json.loads(described.read_text())


def test_several_classes(tmp_path: Path) -> None:
    label = {"column": "topics", "task": "multilabel", "classes": TOPICS, "top_k": 1}
    data, fn_args = trained(tmp_path, label)
    got, said, described = answers(data, fn_args)
    np.testing.assert_allclose(got["predictions"], said, atol=1e-6)
    raw = [cell.split("|") for cell in data.raw["eval"]["topics"]]
    assert got["label"].tolist() == [[int(name in cell) for name in TOPICS] for cell in raw]
    chosen = [[name for name, p in zip(TOPICS, row, strict=True) if p > 0.5] for row in said]
    assert got["class"].astype(str).tolist() == ["|".join(names) for names in chosen]
    assert "" in got["class"].astype(str)
    assert ((said > 0.5) == got["label"]).mean() > 0.93
    np.testing.assert_allclose(got["top_scores"][:, 0], said.max(axis=1), atol=1e-6)
    assert set(got["top_ids"][:, 0].astype(str)) <= set(TOPICS)
    assert described["task"] == "multilabel"
    assert described["classes"] == TOPICS
    assert described["separator"] == "|"
    assert described["outputs"] == ["predictions", "class", "top_ids", "top_scores"]


def test_quantiles(tmp_path: Path) -> None:
    label = {"column": "price", "task": "quantile", "quantiles": [0.2, 0.4, 0.6, 0.8]}
    data, fn_args = trained(tmp_path, label)
    got, said, described = answers(data, fn_args)
    assert got["predictions"].dtype == np.float32
    np.testing.assert_allclose(got["predictions"], np.sort(said, axis=1), rtol=1e-6)
    np.testing.assert_allclose(got["label"][:, 0], data.raw["eval"]["price"])
    below = (got["label"] <= got["predictions"]).mean(axis=0)
    np.testing.assert_allclose(below, [0.2, 0.4, 0.6, 0.8], atol=0.12)
    assert described["task"] == "quantile"
    assert described["quantiles"] == [0.2, 0.4, 0.6, 0.8]
    assert described["outputs"] == ["predictions"]
