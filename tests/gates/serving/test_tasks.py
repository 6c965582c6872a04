"""The gate on labels that are no one probability: prices of 250,000, quantiles, several classes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gates.serving.conftest import QUICK, World, export_model, export_pair, world_of
from tfx_pipeline.config.gates import GatesConfig
from tfx_pipeline.gates.metrics import metrics_of
from tfx_pipeline.gates.serving.measure import measure
from tfx_pipeline.gates.serving.measured import Measured
from tfx_pipeline.gates.serving.skew import SERVER, TRAINER, _largest, _of_keras, reference, skew
from tfx_pipeline.gates.serving.verdict import ServingVerdict, judge
from trainer.compression.candidate import Candidate
from trainer.export import save_keras
from transform.config import LabelConfig
from transform.label_config import Task

# One row a request: TensorFlow adds up its products in another order than those of many.
SETTINGS = replace(QUICK, pairs=1, resamples=20, replay_batch=1)


def _network(outputs: int, activation: str | None, scale: float = 1.0) -> Any:
    """From `size_xf` through a wide layer, so that there is something to add up; its answers are
    around `scale`."""
    import tf_keras

    generator = np.random.default_rng(11)
    size = tf_keras.Input((1,), name="size_xf")
    wide = tf_keras.layers.Dense(256, "tanh")(size)
    last = tf_keras.layers.Dense(outputs, activation)
    model = tf_keras.Model({"size_xf": size}, last(wide))
    kernel = generator.normal(0, 1, (1, 256)).astype(np.float32)
    model.layers[1].set_weights([kernel, generator.normal(0, 1, 256).astype(np.float32)])
    out = generator.normal(0, 0.03 * scale, (256, outputs)).astype(np.float32)
    last.set_weights([out, np.full(outputs, scale if scale > 1 else 0.0, np.float32)])
    return model


def _gate(
    folder: Path, world: World, models: dict[str, Path], task: Task, metric: dict[str, Any]
) -> tuple[ServingVerdict, dict[str, Measured]]:
    for name, path in models.items():
        shutil.copytree(path, folder / name)
    candidates = [Candidate(name, "float" if name == "float" else "prune") for name in models]
    rows = world.rows()
    levels = world.trained.config.label.quantiles
    found = measure(folder, candidates, rows, task, SETTINGS, world.trained, levels=levels)
    gates = GatesConfig.model_validate({"quality": {"thresholds": [metric]}})
    verdict = judge(found, candidates, gates, task=task, labels=rows.labels)
    return verdict, {one.name: one for one in found}


@pytest.mark.slow
def test_prices_ship_and_their_skew_is_seen(tmp_path: Path) -> None:
    world = world_of(
        tmp_path / "world",
        {"column": "price", "task": "regression"},
        lambda config, graph: _network(1, None, 250_000.0),
    )
    export_pair(_network(1, None, 250_000.0), world.transformed, tmp_path / "core")
    models = {"float": world.float_model, "core": tmp_path / "core"}
    metric = {"metric": "mae", "max": 1e6}
    verdict, found = _gate(tmp_path / "ladder", world, models, "regression", metric)
    answers = np.array(found["core"].predictions)
    assert np.abs(answers).mean() > 100_000
    # What the test is about: two ways differ, and the smallest step at 250,000 is 0.016.
    proofs = [one.skew.max_difference for one in found.values() if one.skew is not None]
    assert max(proofs) > 0
    assert [row.reasons for row in verdict.rows] == [[], []]
    assert verdict.blessed
    serialized = world.rows().serialized
    expected = reference(world.trained, serialized, rows=50, tolerance=SETTINGS.tolerance)
    proof = skew(tmp_path / "core", 1.001 * answers, expected, is_float=False, runs_core=True)
    assert proof.max_difference == pytest.approx(1e-3, rel=0.02)
    assert proof.detail.startswith(f"row {proof.row}: ")
    assert ", 0.001 of 2" in proof.detail  # the difference, and what it is measured against


@pytest.mark.slow
def test_three_classes_are_judged(tmp_path: Path) -> None:
    label = {"column": "grade", "task": "multiclass", "classes": ["low", "middle", "high"]}
    world = world_of(tmp_path / "world", label, lambda config, graph: _network(3, "softmax"))
    export_model(_network(3, "softmax", 1.0), world.transformed, tmp_path / "same")
    models = {"float": world.float_model, "same": tmp_path / "same"}
    metric = {"metric": "accuracy", "min": 0.01, "max_drop": 0.01}
    verdict, found = _gate(tmp_path / "ladder", world, models, "multiclass", metric)
    assert [row.reasons for row in verdict.rows] == [[], []]
    assert verdict.blessed
    assert np.shape(found["same"].predictions) == (400, 3)
    assert found["same"].skew is not None
    assert found["same"].skew.max_difference < 1e-5
    assert verdict.rows[1].flips.rows == 400
    assert verdict.rows[1].flips.count == 0


@pytest.mark.slow
def test_several_classes_a_row_are_judged(tmp_path: Path) -> None:
    label = {"column": "grade", "task": "multilabel", "classes": ["low", "middle", "high"]}
    world = world_of(tmp_path / "world", label, lambda config, graph: _network(3, "sigmoid"))
    metric = {"metric": "hamming_loss", "max": 0.9, "max_drop": 0.01}
    models = {"float": world.float_model}
    verdict, found = _gate(tmp_path / "ladder", world, models, "multilabel", metric)
    assert [row.reasons for row in verdict.rows] == [[]]
    labels = world.rows().labels
    assert labels.shape == np.shape(found["float"].predictions) == (400, 3)
    assert (labels.sum(axis=1) == 1).all()  # This column has one grade a row.
    assert set(found["float"].quality["overall"]) == set(metrics_of("multilabel"))


def test_quantiles_of_the_trainers_model_that_cross_are_no_skew(tmp_path: Path) -> None:
    save_keras(_network(3, None), str(tmp_path / "keras_model.h5"))
    label = LabelConfig.model_validate({"column": "price", "task": "quantile"})
    features = {"size_xf": np.linspace(-2, 2, 9, dtype=np.float32)[:, None]}
    answers = _of_keras(tmp_path / "keras_model.h5", features, label)
    plain = _network(3, None).predict(features, verbose=0)
    assert (np.diff(plain, axis=1) < 0).any()
    np.testing.assert_array_equal(answers, np.sort(plain, axis=1))  # as they are served


@pytest.mark.parametrize(
    ("value", "off", "spread", "size"),
    [
        (0.5, 2e-4, 0.3, 2e-4),  # a probability: absolute
        (250_000.0, 25.0, 70_000.0, 1e-4),  # relative to the value
        (3.0, 0.7, 70_000.0, 1e-5),  # near 0, the sum of large ones
        (3.0, np.nan, 70_000.0, np.inf),
    ],
)
def test_a_difference_is_measured_against_what_float32_can_hold(
    value: float, off: float, spread: float, size: float
) -> None:
    ways = {TRAINER: np.array([0.0, value]), SERVER: np.array([0.0, value + off])}
    gap = _largest(ways, spread)
    assert gap.size == pytest.approx(size)
    assert (gap.between, gap.place) == ((TRAINER, SERVER), 1)
