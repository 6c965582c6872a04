"""Ensembles: how members differ, that they are joined flat, and that their mean is better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.processes import killed
from tests.trainer.rows import LABELS, LAYOUT
from tests.trainer.rows import split as clean_split
from tfx_pipeline.errors import ConfigError, NodeFailed
from trainer import ensemble
from trainer.config import EarlyStopping, ModelConfig, TrainConfig
from trainer.ensemble_config import EnsembleConfig
from trainer.input import Held, Split, drawn, train_batches
from trainer.models.build import LABEL_UNIT_LAYER, LabelScale, build
from trainer.progress import Ended, Event, Progress, Resumed, describe, listen
from trainer.regularize.config import AdversarialConfig

TRAIN = TrainConfig(
    steps=120, steps_per_epoch=60, batch_size=32, learning_rate=0.01, tensorboard=False
)


def noisy(rows: int, seed: int) -> Split:
    """Labels of which a network learns the noise by heart: a quarter of them are turned."""
    held = clean_split("binary", rows, seed).held
    turned = np.random.default_rng(seed).random((rows, 1)) < 0.25
    return Split("train", (), LAYOUT, {}, rows, Held(held.features, held.label ^ turned))


def test_members_differ_by_seed_rows_or_cycle() -> None:
    rows = clean_split()
    average, bagging, snapshot = (
        list(ensemble.members(EnsembleConfig(method=method), TRAIN, rows, "/run"))
        for method in ("average", "bagging", "snapshot")
    )
    assert [m.train.seed for m in average] == [17, 18, 19]
    assert [m.run_dir for m in average] == [f"/run/member-{i}" for i in (1, 2, 3)]
    assert {m.train.steps for m in average} == {120}
    assert [m.split.bootstrap for m in average] == [None] * 3
    assert [m.split.bootstrap for m in bagging] == [17, 18, 19]
    assert {m.train.schedule.name for m in snapshot} == {"cosine"}
    assert {m.train.schedule.name for m in average} == {"constant"}
    odd = TRAIN.model_copy(update={"steps": 100})
    cycles = list(ensemble.members(EnsembleConfig(method="snapshot"), odd, rows, "/run"))
    assert [m.train.steps for m in cycles] == [33, 33, 34]
    assert all(m.train.steps_per_epoch <= m.train.steps for m in cycles)


def test_a_bootstrap_is_as_many_draws_of_the_rows() -> None:
    from dataclasses import replace

    rows = clean_split("binary", 240)
    one, other = (replace(rows, bootstrap=seed) for seed in (5, 6))
    draws = drawn(one).numpy()
    assert draws.shape == (240,)
    assert 0.55 < len(np.unique(draws)) / 240 < 0.72  # 1 - 1/e
    np.testing.assert_array_equal(drawn(one), draws)
    assert (drawn(other).numpy() != draws).any()
    np.testing.assert_array_equal(drawn(rows), np.arange(240))

    def sizes(split: Split, first: int, steps: int) -> list[list[float]]:
        batches = train_batches(split, 40, 1, first).take(steps)
        return [features["size_xf"].numpy()[:, 0].tolist() for features, _ in batches]

    # Each pass is over the draws, in another order; and a batch follows from the step alone.
    passes = sizes(one, 0, 12)
    for first in (0, 6):
        seen = np.sort(np.concatenate(passes[first : first + 6]))
        np.testing.assert_array_equal(seen, np.sort(rows.held.features["size_xf"][draws, 0]))
    assert passes[:6] != passes[6:]
    assert sizes(one, 8, 2) == passes[8:10]


@pytest.mark.parametrize(
    ("method", "train", "said"),
    [
        ("snapshot", {"schedule": "cosine"}, "train.schedule does not go with"),
        ("snapshot", {"early_stopping": EarlyStopping()}, "train.early_stopping does not go with"),
        ("snapshot", {"steps": 2}, "train.steps 2 do not divide into 3 cycles"),
        ("bagging", {"cache_max_mb": 0}, "240 rows of split 'train' are streamed"),
    ],
)
def test_what_members_cannot_be_is_refused(method: Any, train: dict[str, Any], said: str) -> None:
    from dataclasses import replace

    rows = clean_split()
    if method == "bagging":
        rows = replace(rows, held=None)
    config = TrainConfig.model_validate(train)
    with pytest.raises(ConfigError, match=said) as caught:
        ensemble.check(EnsembleConfig(method=method), config, rows)
    assert caught.value.where
    assert caught.value.hint


def test_a_worker_that_exports_nothing_joins_nothing() -> None:
    """Of several workers all train, also each snapshot from the one before; one has the result."""
    starts = []

    def train_one(member: ensemble.Member) -> Any:
        starts.append(member.start)
        config = ModelConfig(hidden_units=[2])
        return build(LAYOUT, config, member.train, LABELS["binary"], LabelScale(), Path())

    given = TRAIN, clean_split(), "/run", LabelScale(), train_one, lambda model: None
    assert ensemble.trained(EnsembleConfig(method="snapshot", members=2), *given) is None
    assert [start is None for start in starts] == [True, False]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_joined_members_are_one_flat_model_that_averages(task: str, tmp_path: Path) -> None:
    import tf_keras

    from trainer.export import save_keras
    from trainer.keras_model import load_keras

    scale = LabelScale(100.0, 20.0)
    rows = clean_split(task, 50).held.features
    config = ModelConfig(hidden_units=[8], dropout=0.1)
    built = [build(LAYOUT, config, TrainConfig(), LABELS[task], scale, Path()) for _ in range(3)]
    joined = ensemble.Joined(scale)
    for model in built:
        joined.add(model)
    whole = joined.model()
    mean = np.mean([model(rows).numpy() for model in built], axis=0)
    np.testing.assert_allclose(whole(rows), mean, rtol=1e-5, atol=1e-5)
    assert not any(isinstance(layer, tf_keras.Model) for layer in whole.layers)
    assert whole.input_names == built[0].input_names
    units = [layer.name for layer in whole.layers if LABEL_UNIT_LAYER in layer.name]
    assert units == ([LABEL_UNIT_LAYER] if task == "regression" else [])
    save_keras(whole, str(tmp_path / "keras_model.h5"))
    again = load_keras(tmp_path / "keras_model.h5", [None], tmp_path)
    np.testing.assert_allclose(again(rows), whole(rows), atol=1e-6)
    # A member's weights are its own: the ensemble does not change when they do.
    built[0].set_weights([0 * value for value in built[0].get_weights()])
    np.testing.assert_allclose(whole(rows), mean, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bagging", "snapshot"])
def test_the_mean_of_three_is_better_than_they_are_on_average(method: Any, tmp_path: Path) -> None:
    """On rows of which every member learns the noise by heart, each another part of it."""
    from tfx_pipeline.gates.measures import measure
    from trainer.fit import compile_model, fit
    from trainer.input import first_rows

    test = noisy(2000, 3)
    truth = test.held.label[:, 0]
    model = ModelConfig(hidden_units=[64, 64])
    alone: list[dict[str, float]] = []

    def measured(some: Any) -> dict[str, float]:
        return measure("binary", truth, some.predict(first_rows(test, 2000), verbose=0))

    def train_one(member: ensemble.Member) -> Any:
        import tf_keras

        tf_keras.utils.set_random_seed(member.train.seed)
        built = build(LAYOUT, model, member.train, LABELS["binary"], LabelScale(), Path())
        compile_model(built, member.train, LABELS["binary"], LabelScale())
        if member.start is not None:
            built.set_weights(member.start)
        fit(built, member.train, member.split, None, member.run_dir, {})
        return built

    def finish(one: Any) -> Any:
        alone.append(measured(one))
        return one

    steps = 600 if method == "snapshot" else 200
    train = TRAIN.model_copy(update={"steps": steps, "steps_per_epoch": 600, "learning_rate": 0.02})
    config = EnsembleConfig(method=method)
    given = noisy(200, 1), str(tmp_path), LabelScale()
    whole = measured(ensemble.trained(config, train, *given, train_one, finish))
    assert len(alone) == 3
    assert whole["auc"] >= np.mean([one["auc"] for one in alone])
    assert whole["log_loss"] < np.mean([one["log_loss"] for one in alone]) - 0.02


RUN = TrainConfig(
    steps=60, steps_per_epoch=20, batch_size=64, learning_rate=0.01, tensorboard=False
)
BAGGED = ModelConfig(
    hidden_units=[16], dropout=0.2, ensemble=EnsembleConfig(method="bagging", members=3)
)
CYCLES = RUN.model_copy(update={"steps_per_epoch": 10})
SNAPSHOTS = BAGGED.model_copy(update={"ensemble": EnsembleConfig(method="snapshot", members=2)})


def events(fn_args: Any) -> list[Event]:
    from trainer.run import run_fn

    heard: list[Event] = []
    with listen(heard.append):
        run_fn(fn_args)
    return heard


def keras_model(fn_args: Any) -> Any:
    from trainer.keras_model import load_keras

    return load_keras(Path(fn_args.model_run_dir) / "keras_model.h5", [None], Path())


@pytest.fixture(scope="module")
def bagged(binary: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[Event]]:
    fn_args = binary.fn_args(tmp_path_factory.mktemp("bagged"), BAGGED, RUN)
    return fn_args, events(fn_args)


@pytest.mark.slow
def test_an_ensemble_is_exported_as_one_model(binary: Any, bagged: Any) -> None:
    import tensorflow as tf

    fn_args, _ = bagged
    served = tf.saved_model.load(fn_args.serving_model_dir)
    examples = tf.constant(binary.examples("eval", 200, label=True))
    answers = served.signatures["serving_default"](examples)
    inputs = served.signatures["transform_features"](examples)
    truth = inputs.pop("label_xf").numpy()[:, 0]
    model = keras_model(fn_args)
    np.testing.assert_allclose(model(inputs), answers["predictions"], atol=1e-6)
    assert np.mean((answers["predictions"].numpy()[:, 0] > 0.5) == truth) > 0.85
    heads = [layer.name for layer in model.layers if layer.name.endswith("_head")]
    assert heads == ["member_1_head", "member_2_head", "member_3_head"]


@pytest.mark.slow
def test_progress_says_which_member_is_trained(bagged: Any) -> None:
    _, heard = bagged
    steps = [event for event in heard if isinstance(event, Progress) and event.epoch_end]
    assert [(e.step, e.total_steps) for e in steps] == [(20 * i, 180) for i in range(1, 10)]
    assert [e.part for e in steps] == [f"member {i} of 3" for i in (1, 2, 3) for _ in range(3)]
    assert describe(steps[3]).startswith("member 2 of 3: loss ")
    ends = [event for event in heard if isinstance(event, Ended)]
    assert [describe(e).partition(",")[0] for e in ends] == [
        f"member {i} of 3: 60 steps" for i in (1, 2, 3)
    ]


@pytest.mark.slow
def test_killed_in_the_second_member_and_resumed(binary: Any, bagged: Any, tmp_path: Path) -> None:
    """By SIGKILL, after its first epoch; with snapshots, which start from the member before."""
    undisturbed = [bagged[0], binary.fn_args(tmp_path / "undisturbed", SNAPSHOTS, CYCLES)]
    events(undisturbed[1])
    again = [
        binary.fn_args(tmp_path / name, model, train)
        for name, model, train in (("bag", BAGGED, RUN), ("snapshots", SNAPSHOTS, CYCLES))
    ]
    killed(tmp_path, (again[0], 85), (again[1], 45))
    resumed = [[e for e in events(fn_args) if isinstance(e, Resumed)] for fn_args in again]
    assert [(e.part, e.step) for e in resumed[0]] == [("member 1 of 3", 60), ("member 2 of 3", 80)]
    assert [(e.part, e.step) for e in resumed[1]] == [("member 1 of 2", 30), ("member 2 of 2", 40)]
    for one, other in zip(undisturbed, again, strict=True):
        pairs = zip(keras_model(one).get_weights(), keras_model(other).get_weights(), strict=True)
        for first, second in pairs:
            assert first.tobytes() == second.tobytes()


@pytest.mark.slow
def test_tf_mot_quantizes_every_member(bagged: Any) -> None:
    from trainer.compression.quantizable import quantized
    from trainer.compression.quantize_scheme import Preserve

    model = keras_model(bagged[0])
    made = quantized(model, Preserve())
    kinds = {type(model.get_layer(name)).__name__ for name in made.left}
    assert kinds == {"Embedding", "Dot", "Average"}


@pytest.mark.slow
def test_what_is_attacked_is_the_ensemble(binary: Any, tmp_path: Path) -> None:
    train = RUN.model_copy(update={"adversarial": AdversarialConfig(epsilon=0.2)})
    model = BAGGED.model_copy(update={"ensemble": EnsembleConfig(members=2)})
    fn_args = binary.fn_args(tmp_path, model, train)
    events(fn_args)
    told = json.loads((Path(fn_args.model_run_dir) / "robustness.json").read_text())
    val = binary.raw["val"]["sold"] == "yes"
    import tensorflow as tf

    served = tf.saved_model.load(fn_args.serving_model_dir).signatures["serving_default"]
    answers = served(tf.constant(binary.examples("val", 200, label=False)))["predictions"]
    assert told["rows"] == 200
    assert told["accuracy"] == pytest.approx(np.mean((answers.numpy()[:, 0] > 0.5) == val))
    assert told["robust_accuracy"] <= told["accuracy"]
    assert not list(tmp_path.glob("model_run/member-*/robustness.json"))


@pytest.mark.slow
def test_of_a_member_that_diverges_the_last_checkpoint_stays(
    regression: Any, tmp_path: Path
) -> None:
    """Beside the whole run's folder: TFX removes what is in it."""
    rise = {"name": "constant", "warmup_steps": 40}
    diverging = {"optimizer": {"name": "sgd"}, "schedule": rise, "learning_rate": 3.0}
    train = RUN.model_dump() | diverging | {"steps_per_epoch": 5}
    model = BAGGED.model_copy(update={"dropout": 0.0})
    fn_args = regression.fn_args(tmp_path, model, TrainConfig.model_validate(train))
    with pytest.raises(NodeFailed) as caught:
        events(fn_args)
    kept = tmp_path / "model_run.last_good"
    assert f"is kept in {kept}." in caught.value.hint
    assert list(kept.glob("*.index"))
