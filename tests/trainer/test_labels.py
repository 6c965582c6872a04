"""Several classes a row, and quantiles: networks learn what was planted, and answer as they say."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import ConfigError
from trainer.config import ModelConfig, TrainConfig
from trainer.input import Held, Split
from trainer.models.build import LABEL_UNIT_LAYER, LabelScale, build
from trainer.tuning.metrics import measure
from transform.config import LabelConfig
from transform.layout import FeatureSpec

SEVERAL = LabelConfig(column="y", task="multilabel", classes=["a", "b", "c"], top_k=2)
QUANTILES = LabelConfig(column="y", task="quantile", quantiles=[0.1, 0.5, 0.9])
LAYOUT = [FeatureSpec("x_xf", "dense", 3, (3,))]
TRAIN = TrainConfig.model_validate(
    {
        "steps": 600,
        "steps_per_epoch": 300,
        "batch_size": 64,
        "learning_rate": 0.01,
        "schedule": "cosine",
        "tensorboard": False,
    }
)


def split(label: LabelConfig, rows: int = 2000, seed: int = 1) -> Split:
    """Three numbers. The classes: one for each that is positive, the second one row in ten turned
    round. The value: 50,000 + 10,000 x, its noise the wider the larger x is."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (rows, 3)).astype(np.float32)
    if label.task == "multilabel":
        truth: Any = (x > 0) ^ (rng.random((rows, 3)) < [0, 0.1, 0])
        return Split("rows", (), LAYOUT, {}, rows, Held({"x_xf": x}, truth.astype(np.int64)))
    noise = rng.normal(size=rows) * spread(x)
    value = (50_000 + 10_000 * x[:, 0] + noise).astype(np.float32)
    return Split("rows", (), LAYOUT, {}, rows, Held({"x_xf": x}, value[:, None]))


def spread(x: np.ndarray) -> np.ndarray:
    return np.asarray(3000 + 2000 * x[:, 0])


def trained(label: LabelConfig, where: Path, train: TrainConfig = TRAIN, **model: Any) -> Any:
    import tf_keras

    from trainer import selection
    from trainer.fit import compile_model, fit
    from trainer.regularize.mixup import is_packed, mixed

    tf_keras.utils.set_random_seed(train.seed)
    rows, val = split(label), split(label, 500, seed=2)
    scale = LabelScale(50_000.0, 7000.0) if label.is_value else LabelScale()
    config = ModelConfig(hidden_units=[96], **model)  # So that pruning takes the head's kernel.
    built = build(LAYOUT, config, train, label, scale, Path())
    compile_model(built, train, label, scale, metrics=selection.metrics(train, label))

    def prepare(features: Any, truth: Any, seed: Any) -> Any:
        return mixed(features, truth, seed, train.mixup, LAYOUT, packed=is_packed(label))

    fit(built, train, rows, val, str(where), {}, prepare=prepare if train.mixup else None)
    return built


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return trained(SEVERAL, tmp_path_factory.mktemp("several"))


@pytest.fixture(scope="module")
def quantiles(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return trained(QUANTILES, tmp_path_factory.mktemp("quantiles"))


def measured(model: Any, label: LabelConfig) -> dict[str, float]:
    held = split(label, 2000, seed=3).held
    assert held is not None
    answers = model.predict(held.features, batch_size=2000, verbose=0)
    return measure(label.task, held.label, answers, label.quantiles)


def test_several_classes_are_learned(several: Any) -> None:
    found = measured(several, SEVERAL)
    assert found["macro_auc"] > 0.94  # One in ten of a class is chance: 0.967 at best.
    assert found["hamming_loss"] < 0.06  # 0.033 at best; half of them are guessed right.
    assert found["subset_accuracy"] > 0.82


def test_quantiles_are_learned(quantiles: Any) -> None:
    found = measured(quantiles, QUANTILES)
    held = split(QUANTILES, 2000, seed=3).held
    assert held is not None
    constant = np.tile(np.quantile(held.label, QUANTILES.quantiles), (2000, 1))
    assert found["pinball_loss"] < 0.6 * measure_of(held.label, constant)
    z = np.array([NormalDist().inv_cdf(q) for q in QUANTILES.quantiles])
    x = held.features["x_xf"]
    truth = (50_000 + 10_000 * x[:, 0] + spread(x) * z[:, None]).T
    assert found["pinball_loss"] < 1.03 * measure_of(held.label, truth)
    assert found["quantile_error"] < 0.05
    assert found["interval_coverage_error"] < 0.05


def measure_of(label: np.ndarray, estimated: np.ndarray) -> float:
    return measure("quantile", label, estimated, QUANTILES.quantiles)["pinball_loss"]


def test_steps_of_our_own(tmp_path: Path) -> None:
    """A label of three classes is as wide as one that mixup packs, and is none."""
    attack = {"epsilon": 0.01, "features": ["x_xf"]}
    more = {"steps": 150, "steps_per_epoch": 150, "mixup": 0.1, "adversarial": attack}
    train = TrainConfig.model_validate(TRAIN.model_dump() | more | {"accumulate_steps": 2})
    assert measured(trained(SEVERAL, tmp_path, train), SEVERAL)["macro_auc"] > 0.9


@pytest.mark.parametrize("metric", ["val_auc", "val_accuracy"])
def test_epochs_are_judged_by_the_mean_over_classes(metric: Any, tmp_path: Path) -> None:
    import tf_keras

    from trainer import selection

    train = TRAIN.model_copy(update={"keep": "best", "best_metric": metric})
    (found,) = selection.metrics(train, SEVERAL)
    held = split(SEVERAL, 300).held
    assert held is not None
    p = np.random.default_rng(0).random((300, 3)).round(2)
    found.update_state(held.label, p)
    got = measure("multilabel", held.label, p)
    wanted = got["macro_auc"] if metric == "val_auc" else 1 - got["hamming_loss"]
    assert float(found.result()) == pytest.approx(wanted, abs=2e-3)
    assert isinstance(found, tf_keras.metrics.Metric)
    with pytest.raises(ConfigError, match="not one of a quantile label"):
        selection.check(train, QUANTILES)


def test_what_is_answered(several: Any, quantiles: Any) -> None:
    import tensorflow as tf

    from trainer.export import answer

    p = tf.constant([[0.9, 0.2, 0.6], [0.1, 0.5, 0.4], [0.6, 0.7, 0.8]])
    got = answer(p, SEVERAL)
    assert got["class"].numpy().tolist() == [b"a|c", b"", b"a|b|c"]
    assert got["top_ids"].numpy().tolist() == [[b"a", b"c"], [b"b", b"c"], [b"c", b"b"]]
    np.testing.assert_allclose(got["top_scores"], [[0.9, 0.6], [0.5, 0.4], [0.8, 0.7]])
    wide = SEVERAL.model_copy(update={"separator": " & "})
    assert answer(p, wide)["class"].numpy()[0] == b"a & c"
    assert answer(p[:0], SEVERAL)["class"].shape == (0,)
    crossing = tf.constant([[3.0, 2.0, 9.0], [1.0, 5.0, 4.0]])
    found = answer(crossing, QUANTILES)
    assert list(found) == ["predictions"]
    assert found["predictions"].numpy().tolist() == [[2.0, 3.0, 9.0], [1.0, 4.0, 5.0]]


def test_members_are_averaged(quantiles: Any, several: Any) -> None:
    from trainer.ensemble import Joined

    for label, model in ((SEVERAL, several), (QUANTILES, quantiles)):
        scale = LabelScale(50_000.0, 7000.0) if label.is_value else LabelScale()
        joined = Joined(scale)
        other = build(LAYOUT, ModelConfig(hidden_units=[4]), TRAIN, label, scale, Path())
        joined.add(model)
        joined.add(other)
        ensemble = joined.model()
        rows = split(label, 50).held
        assert rows is not None
        mean = (np.asarray(model(rows.features)) + np.asarray(other(rows.features))) / 2
        np.testing.assert_allclose(ensemble(rows.features), mean, rtol=1e-5)
        assert (ensemble.layers[-1].name == LABEL_UNIT_LAYER) == label.is_value


@pytest.mark.parametrize("task", ["multilabel", "quantile"])
def test_the_head_prunes_and_quantizes(task: str, several: Any, quantiles: Any) -> None:
    import tensorflow as tf

    from tests.trainer.compression.test_float_dense import _answers
    from trainer.compression.candidate import Compressed
    from trainer.compression.config import PruneConfig, QatConfig
    from trainer.compression.context import Context
    from trainer.compression.convert import convert
    from trainer.compression.prune import prune
    from trainer.compression.quantize_aware import qat
    from transform.config import TransformConfig

    label, model = (SEVERAL, several) if task == "multilabel" else (QUANTILES, quantiles)
    rows = split(label)
    assert rows.held is not None
    columns = {"x": {"kind": "numeric"}}
    context = Context(
        layout=LAYOUT,
        tft_output=None,
        transform=TransformConfig.model_validate(
            {"features": {"columns": columns}, "label": label.model_dump()}
        ),
        model=ModelConfig(hidden_units=[96]),
        train=TRAIN.model_copy(update={"strategy": "default"}),
        scale=LabelScale(50_000.0, 7000.0) if label.is_value else LabelScale(),
        train_split=rows,
        val_split=split(label, 500, seed=2),
        strategy=tf.distribute.get_strategy(),
        rows={"x_xf": rows.held.features["x_xf"][:500]},
        folder=Path(),
    )
    primary = "macro_auc" if task == "multilabel" else "pinball_loss"
    float_value = measured(model, label)[primary]
    near = {"abs": 0.02} if task == "multilabel" else {"rel": 0.1}

    made = Compressed(model, "int8")
    if label.is_value:
        made = qat(model, QatConfig(steps=50, learning_rate=1e-3), context)
        assert any("head left in float" in note for note in made.notes)
        assert measured(made.model, label)[primary] == pytest.approx(float_value, **near)
    core = convert(made, context, 300)
    held = split(label, 2000, seed=3).held
    assert held is not None
    answers = _answers(core.content, dict(held.features))
    value = measure(task, held.label, answers, label.quantiles)[primary]
    assert value == pytest.approx(float_value, **near)
    if label.is_value:
        assert np.unique(answers).size > 1000  # More values than the 256 of an int8.
    sparse = prune(model, PruneConfig(sparsity=0.5, steps=60, learning_rate=2e-3), context)
    assert (sparse.model.get_layer("head").get_weights()[0] == 0).mean() >= 0.5
    assert measured(sparse.model, label)[primary] == pytest.approx(float_value, **near)


def test_robustness_of_each_task(several: Any, quantiles: Any, tmp_path: Path) -> None:
    from trainer.regularize.robustness import report_robustness

    attack = {"attack": "fgsm", "epsilon": 0.2, "features": ["x_xf"]}
    train = TrainConfig.model_validate({"adversarial": attack})
    for label, model, name in (
        (SEVERAL, several, "accuracy"),
        (QUANTILES, quantiles, "pinball_loss"),
    ):
        scale = LabelScale(50_000.0, 7000.0) if label.is_value else LabelScale()
        rows = split(label, 1000, seed=3)
        found = report_robustness(model, train, label, scale, LAYOUT, rows, str(tmp_path))
        assert found is not None
        clean, robust = float(found[name]), float(found[f"robust_{name}"])
        assert robust > 1.1 * clean if label.is_value else robust < clean - 0.05


def test_a_label_of_another_width_is_told() -> None:
    import tensorflow as tf

    from trainer.loading import TrainerConfig, read_splits

    given = {"features": {"columns": {"x": {"kind": "numeric"}}}, "label": SEVERAL.model_dump()}
    config = TrainerConfig.read({"transform": given})
    spec = {"label_xf": tf.io.FixedLenFeature([1], tf.int64)}
    with pytest.raises(ConfigError, match="has 1 values a row, and a multilabel label 3"):
        read_splits([], [], config, LAYOUT, spec)
