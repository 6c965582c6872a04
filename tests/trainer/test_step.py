"""Steps in parts, under attack, in mixed precision and under XLA."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.processes import last_line
from tests.trainer.rows import LABELS, LAYOUT, compiled, fitted, split
from tfx_pipeline.errors import ConfigError, EnvironmentMismatch, NodeFailed
from trainer.config import TrainConfig

pytestmark = pytest.mark.slow  # Each trains a network, or several.

ROOT = Path(__file__).parents[2]
TRAIN = {
    "steps": 6,
    "steps_per_epoch": 6,
    "batch_size": 48,
    "learning_rate": 0.2,
    "optimizer": "nesterov",
    "tensorboard": False,
}


def config(**more: Any) -> TrainConfig:
    return TrainConfig.model_validate(TRAIN | more)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_parts_make_the_step_of_the_whole_batch(task: str, tmp_path: Path) -> None:
    clip = {"global_norm": 0.5}
    whole = fitted(config(clip=clip, l2=0.01), tmp_path / "1", task)
    parts = fitted(config(clip=clip, l2=0.01, accumulate_steps=4), tmp_path / "4", task)
    start = compiled(config(), task)
    moved = 0.0
    for one, other, before in zip(
        whole.get_weights(), parts.get_weights(), start.get_weights(), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
        moved = max(moved, float(np.abs(one - before).max()))
    assert moved > 0.01


def test_a_step_is_traced_once_and_is_kerass_own(tmp_path: Path) -> None:
    """Whose loop over the steps of one call would trace it twice."""
    import tf_keras

    from trainer import step
    from trainer.fit import fit

    def trained(where: Path) -> tuple[Any, dict[str, int], list[dict[str, float]]]:
        train = config(steps=12)
        model = compiled(train, dropout=0.3)
        traced, told = dict.fromkeys(("train_step", "test_step"), 0), []

        class Note(tf_keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_begin(self, logs: Any = None) -> None:
                for name in traced:
                    setattr(model, name, counted(name, getattr(model, name)))

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                told.append(dict(logs))

        def counted(name: str, plain: Any) -> Any:
            def one(data: Any) -> Any:
                traced[name] += 1
                return plain(data)

            return one

        val = split("binary", 5000, 2)  # More than one batch of them.
        fit(model, train, split(), val, str(where), {}, [Note()])
        assert int(model._train_counter) == 12
        return model, traced, told

    ours, once, told = trained(tmp_path / "ours")
    with pytest.MonkeyPatch.context() as keras:
        keras.setattr(step, "trace_once", lambda model: None)
        theirs, twice, others = trained(tmp_path / "keras")
    assert once == {"train_step": 1, "test_step": 1}
    assert min(twice.values()) == 2
    assert told == others
    assert "val_loss" in told[0]
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_parts_that_do_not_divide_are_refused() -> None:
    from trainer.step import check_parts

    with pytest.raises(ValueError, match="48 does not divide into 5 equal parts"):
        config(accumulate_steps=5)
    with pytest.raises(ConfigError, match="16 equal parts on each of 2 replicas") as caught:
        check_parts(config(accumulate_steps=16), 2)  # As many GPUs as a config cannot know.
    assert "multiple of 32" in caught.value.hint


MIRRORED = """
import sys
from pathlib import Path
from tests.trainer.rows import LAYOUT, LABELS, compiled, fitted, split
from trainer.config import TrainConfig
from trainer.strategy import configure_devices, make_strategy
given = {"steps": 6, "steps_per_epoch": 3, "batch_size": 48, "learning_rate": 0.2,
         "optimizer": "nesterov", "tensorboard": False, "logical_cpus": 2}
train = TrainConfig.model_validate(given)
configure_devices(train)
import numpy as np
import tensorflow as tf
from trainer.fit import fit
scope = make_strategy(train)
assert scope.num_replicas_in_sync == 2
folder = Path(sys.argv[1])
alone = fitted(train, folder / "alone").get_weights()
with scope.scope():
    whole = fitted(train, folder / "whole").get_weights()
    parts = fitted(TrainConfig.model_validate(given | {"accumulate_steps": 4}), folder / "parts")
for one, other, third in zip(alone, whole, parts.get_weights(), strict=True):
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    np.testing.assert_allclose(one, third, rtol=0, atol=1e-6)
everything = {
    "optimizer": {"name": "lamb"}, "schedule": {"name": "cosine", "warmup_steps": 2}, "ema": 0.9,
    "clip": {"norm": 1.0}, "adversarial": {"attack": "pgd", "steps": 2}, "accumulate_steps": 2,
    "precision": "mixed_float16", "learning_rate": 0.01,
}
with scope.scope():
    model = fitted(TrainConfig.model_validate(given | everything), folder / "all",
                   dropout=0.2, normalization="batch")
for variable in model.weights:
    first, second = scope.experimental_local_results(variable)
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert np.isfinite(first.numpy()).all()
print("the same")
"""


def test_two_replicas_make_the_same_steps(tmp_path: Path) -> None:
    assert last_line(MIRRORED, tmp_path) == "the same"


def test_l1_is_a_penalty_of_dense_kernels() -> None:
    penalties = compiled(config(l1=0.5)).losses
    kernels = [w for w in compiled(config()).trainable_weights if w.name.endswith("kernel:0")]
    assert len(penalties) == len(kernels) == 2
    wanted = sum(0.5 * np.abs(kernel.numpy()).sum() for kernel in kernels)
    assert float(sum(penalties)) == pytest.approx(wanted, rel=1e-5)


def attacked(model: Any, attack: str, epsilon: float, task: str = "binary") -> Any:
    """The rows, and the same rows attacked."""
    import tensorflow as tf

    from trainer.regularize.adversarial import attack as run
    from trainer.regularize.adversarial import movable, objective_of
    from trainer.regularize.config import AdversarialConfig
    from trainer.step import row_loss

    settings = AdversarialConfig(attack=attack, epsilon=epsilon)  # type: ignore[arg-type]
    held = split(task).held
    assert held is not None
    rows = {name: tf.constant(values) for name, values in held.features.items()}
    moved = movable(LAYOUT, model.input_names, settings)
    goal = objective_of(model, row_loss(model))
    label = tf.constant(held.label)
    worst = run(rows, label, goal, settings, moved, tf.constant([1, 2], tf.int64))
    return rows, worst, label, goal


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_attacks_move_numbers_within_their_bound_to_a_larger_loss(attack: str) -> None:
    model = compiled(config())
    rows, worst, label, goal = attacked(model, attack, 0.1)
    for name in ("size_xf", "speed_xf"):
        moved = np.abs(worst[name].numpy() - rows[name].numpy())
        assert 0.05 < moved.max() <= 0.1 + 1e-6
    for name in ("shop_xf", "review_ids_xf", "review_weights_xf", "speed_missing_xf"):
        np.testing.assert_array_equal(worst[name], rows[name])
    assert float(np.mean(goal(worst, label))) > float(np.mean(goal(rows, label))) + 1e-3


def test_what_an_attack_cannot_move_is_said() -> None:
    from trainer.regularize.adversarial import movable
    from trainer.regularize.config import AdversarialConfig

    names = [spec.name for spec in LAYOUT]
    with pytest.raises(ConfigError, match="'sise_xf', which is no feature of numbers") as caught:
        movable(LAYOUT, names, AdversarialConfig(features=["sise_xf"]))
    assert "'size_xf'" in caught.value.hint
    with pytest.raises(ConfigError, match="no feature of numbers"):
        movable(LAYOUT[3:], names, AdversarialConfig())


def test_training_under_attack_makes_a_model_robust(tmp_path: Path) -> None:
    """Of two numbers that tell the class, the frail one tells it better: by 0.2 either way, which
    an attack of 0.4 turns round; the sound one is right in 9 of 10 rows, by 2 either way."""
    from trainer.fit import fit
    from trainer.input import Held, Split
    from trainer.models.build import LabelScale
    from trainer.regularize.robustness import report_robustness
    from transform.layout import FeatureSpec

    layout = [FeatureSpec(name, "dense", 1, (1,)) for name in ("frail_xf", "sound_xf")]
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, (2000, 1))
    sign = (2 * label - 1).astype(np.float32)
    right = np.where(rng.random((2000, 1)) < 0.9, 1, -1).astype(np.float32)
    features = {"frail_xf": 0.2 * sign, "sound_xf": 2 * sign * right}
    data = Split("val", (), layout, {}, 2000, Held(features, label))

    def robustness(name: str, **adversarial: Any) -> dict[str, Any]:
        attack = {"attack": "pgd", "epsilon": 0.4, "steps": 4}
        train = config(
            steps=300,
            steps_per_epoch=150,
            optimizer="adam",
            learning_rate=0.02,
            adversarial={**attack, "share": 1.0} if adversarial["on"] else None,
        )
        model = compiled(train, layout=layout)
        fit(model, train, data, None, str(tmp_path / name), {})
        judged = config(adversarial=attack)
        given = LABELS["binary"], LabelScale(), layout, data, str(tmp_path)
        return report_robustness(model, judged, *given) or {}

    (tmp_path / "x").mkdir()
    plain, hardened = robustness("plain", on=False), robustness("hardened", on=True)
    assert plain["accuracy"] > 0.97
    assert plain["robust_accuracy"] < 0.5
    assert hardened["robust_accuracy"] > 0.85
    assert (tmp_path / "robustness.json").exists()


def test_without_rows_to_attack_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from trainer.models.build import LabelScale
    from trainer.regularize.robustness import report_robustness

    train = config(adversarial={"epsilon": 0.1})
    given = LABELS["binary"], LabelScale(), LAYOUT, None, str(tmp_path)
    with caplog.at_level(logging.WARNING, "trainer.regularize.robustness"):
        assert report_robustness(compiled(train), train, *given) is None
    assert "no validation rows to attack" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_leaves_float32(precision: str, tmp_path: Path) -> None:
    import tf_keras

    from trainer import export
    from trainer.precision import as_float32

    train = config(precision=precision, steps=60, optimizer="adam", learning_rate=0.02, ema=0.9)
    model = fitted(train, tmp_path)
    assert model.get_layer("hidden_0").compute_dtype == precision.removeprefix("mixed_")
    assert model.output.dtype == "float32"
    assert model.layers[-1].name == "head"  # As calibration wants it.
    assert tf_keras.mixed_precision.global_policy().name == "float32"
    held = split("binary", 60, 2).held
    assert held is not None
    answers = model.predict(held.features, verbose=0)
    assert np.mean((answers > 0.5) == held.label) > 0.8
    plain = as_float32(model)
    assert {layer.compute_dtype for layer in plain.layers} <= {"float32", "int64"}
    np.testing.assert_allclose(plain.predict(held.features, verbose=0), answers, atol=0.02)
    export.save_keras(plain, str(tmp_path / "keras.h5"))
    again = tf_keras.models.load_model(str(tmp_path / "keras.h5"))
    np.testing.assert_array_equal(
        again.predict(held.features, verbose=0), plain.predict(held.features, verbose=0)
    )
    assert as_float32(plain) is plain


def test_xla_compiles_the_step_to_the_same_weights(tmp_path: Path) -> None:
    usual = fitted(config(), tmp_path / "usual").get_weights()
    compiled_ = fitted(config(jit_compile=True), tmp_path / "xla").get_weights()
    for one, other in zip(usual, compiled_, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_an_op_that_xla_does_not_know_is_named(tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    from trainer.fit import compile_model, fit
    from trainer.models.build import LabelScale

    train = config(jit_compile=True)
    x = tf_keras.Input((1,), name="size_xf")

    def unknown(values: Any) -> Any:
        return tf.reshape(tf.numpy_function(lambda v: v, [values], tf.float32), [-1, 1])

    answer = tf_keras.layers.Dense(1, "sigmoid")(tf_keras.layers.Lambda(unknown)(x))
    model = tf_keras.Model(x, answer)
    compile_model(model, train, LABELS["binary"], LabelScale())
    with pytest.raises(EnvironmentMismatch, match=r"XLA cannot compile.*PyFunc") as caught:
        fit(model, train, split(), None, str(tmp_path), {})
    assert "jit_compile: false" in caught.value.hint


def test_divergence_is_told_with_its_step_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    import tensorflow as tf

    # The rate rises to where each step multiplies the error by some -1.6: finite for long.
    rise = {"name": "constant", "warmup_steps": 40}
    train = config(steps=60, steps_per_epoch=5, optimizer="sgd", learning_rate=1.3, schedule=rise)
    with pytest.raises(NodeFailed, match=r"diverges: its loss grew from .* by step \d+ of 60") as e:
        fitted(train, tmp_path / "run", "regression", hidden=1)
    assert "learning_rate (now 1.3" in e.value.hint
    # TFX will remove the run's own folder.
    kept = tmp_path / "run.last_good"
    assert re.search(rf"after epoch \d+ is kept in {kept}", e.value.hint)
    [index] = kept.glob("*.index")
    found = str(index.with_suffix(""))
    weights = [
        tf.train.load_variable(found, name)
        for name, _ in tf.train.list_variables(found)
        if "kernel" in name
    ]
    assert weights
    assert all(np.isfinite(weight).all() for weight in weights)
