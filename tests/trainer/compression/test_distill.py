"""Students: smaller than their teacher and taught by it, by the formulas of Hinton et al."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import ConfigError
from trainer.compression.config import DistillConfig
from trainer.compression.context import Context
from trainer.compression.distill import distill, distillation_loss
from trainer.config import ModelConfig
from trainer.input import Held
from trainer.models.build import LabelScale, build
from transform.config import LabelConfig, TransformConfig

BINARY = LabelConfig(column="y", classes=["no", "yes"])
THREE = LabelConfig(column="y", task="multiclass", classes=["a", "b", "c"])
NUMBER = LabelConfig(column="y", task="regression")
SEVERAL = LabelConfig(column="y", task="multilabel", classes=["a", "b", "c"])
RANGE = LabelConfig(column="y", task="quantile")
STEPS = 200


def with_label(context: Context, label: LabelConfig, values: np.ndarray) -> Context:
    """The same rows with another label."""
    held = context.train_split.held
    assert held is not None
    split = dataclasses.replace(context.train_split, held=Held(held.features, values))
    transform = TransformConfig(features=context.transform.features, label=label)
    return dataclasses.replace(context, train_split=split, transform=transform)


def test_a_student_learns_from_its_teacher(
    parent: Any, context: Context, auc: Callable[[Any], float]
) -> None:
    before = parent.get_weights()
    config = DistillConfig(hidden_units=[24, 8], steps=STEPS * 2, learning_rate=1e-2)
    made = distill(parent, config, context)
    assert made.model.count_params() < 0.4 * parent.count_params()
    assert made.model.input_names == parent.input_names
    assert auc(made.model) > auc(parent) - 0.05
    assert "hidden_units [24, 8]" in made.notes[0]
    assert all(np.array_equal(a, b) for a, b in zip(before, parent.get_weights(), strict=True))
    assert parent.trainable


def test_without_labels_the_teacher_alone_teaches(parent: Any, context: Context) -> None:
    """With alpha 0 labels that are all wrong do no harm; with alpha 1 nothing else counts."""
    held = context.train_split.held
    assert held is not None
    wrong = with_label(context, context.transform.label, 1 - held.label)
    taught = np.asarray(parent(held.features))

    def agreement(**settings: Any) -> float:
        config = DistillConfig(hidden_units=[16], steps=STEPS, learning_rate=1e-2, **settings)
        answers = np.asarray(distill(parent, config, wrong).model(held.features))
        return float(((answers > 0.5) == (taught > 0.5)).mean())

    assert agreement(alpha=0.0) > 0.85
    assert agreement(alpha=0.0, targets="hard") > 0.85
    assert agreement(alpha=1.0) < 0.2


def test_the_same_seed_gives_the_same_student(parent: Any, context: Context) -> None:
    config = DistillConfig(hidden_units=[4], steps=20)
    other = dataclasses.replace(context, seed=context.seed + 1)
    one, two, three = (
        distill(parent, config, c).model.get_weights() for c in (context, context, other)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, three, strict=True))


LABELS = [THREE, NUMBER, SEVERAL, RANGE]


@pytest.mark.parametrize("label", LABELS, ids=[label.task for label in LABELS])
def test_students_of_other_tasks(parent: Any, context: Context, label: LabelConfig) -> None:
    held = context.train_split.held
    assert held is not None
    score = held.features["n0_xf"] - held.features["n1_xf"]
    values = {
        "multiclass": np.digitize(score, [-1, 1]),
        "multilabel": np.hstack([score > 0, held.features["n2_xf"] > 0, score < -1]).astype(int),
    }.get(label.task, 5000 + 800 * score)
    scale = LabelScale(5000.0, 800.0) if label.is_value else LabelScale()
    context = dataclasses.replace(with_label(context, label, values), scale=scale)
    teacher = build(context.layout, context.model, context.train, label, scale, context.folder)
    config = DistillConfig(hidden_units=[12], alpha=1.0, steps=STEPS, learning_rate=1e-2)
    learned = distill(teacher, config, context).model
    answers = np.asarray(learned(held.features))
    if label is THREE:
        assert (answers.argmax(axis=1) == values[:, 0]).mean() > 0.85
        return
    copy = distill(learned, config.model_copy(update={"hidden_units": [6], "alpha": 0.0}), context)
    copied = np.asarray(copy.model(held.features))
    if label is SEVERAL:
        assert ((answers > 0.5) == values).mean() > 0.9
        assert ((copied > 0.5) == (answers > 0.5)).mean() > 0.85
        return
    for place in range(label.outputs):
        assert np.corrcoef(answers[:, place], values[:, 0])[0, 1] > 0.95
        assert np.corrcoef(copied[:, place], answers[:, place])[0, 1] > 0.95


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_loss_is_the_papers(temperature: float) -> None:
    rng = np.random.default_rng(3)
    student, teacher = rng.normal(size=(2, 5, 3))
    truth = rng.integers(0, 3, (5, 1))
    soft = softmax(teacher / temperature)
    divergence = (soft * np.log(soft / softmax(student / temperature))).sum(axis=1)
    chosen = softmax(student)[np.arange(5), truth[:, 0]]
    config = DistillConfig(temperature=temperature, alpha=0.3)
    answers = np.hstack([softmax(student), softmax(teacher)]).astype(np.float32)
    wanted = 0.3 * -np.log(chosen) + 0.7 * temperature**2 * divergence
    np.testing.assert_allclose(distillation_loss(config, THREE)(truth, answers), wanted, rtol=1e-4)
    # A binary output is two classes, one of them unsaid.
    pair = np.hstack([softmax(s[:, :2])[:, 1:] for s in (student, teacher)]).astype(np.float32)
    both = np.hstack([softmax(s[:, :2]) for s in (student, teacher)]).astype(np.float32)
    truth = truth % 2
    np.testing.assert_allclose(
        distillation_loss(config, BINARY)(truth, pair),
        distillation_loss(config, THREE)(truth, both),
        rtol=1e-4,
    )


def test_the_loss_of_a_multilabel_is_the_mean_of_its_classes() -> None:
    rng = np.random.default_rng(4)
    student, teacher = rng.uniform(0.05, 0.95, (2, 6, 3)).astype(np.float32)
    truth = rng.integers(0, 2, (6, 3))
    for targets in ("soft", "hard"):
        config = DistillConfig(targets=targets, temperature=3.0, alpha=0.4)
        alone = [
            distillation_loss(config, BINARY)(
                truth[:, [place]], np.stack([student[:, place], teacher[:, place]], axis=1)
            )
            for place in range(3)
        ]
        got = distillation_loss(config, SEVERAL)(truth, np.hstack([student, teacher]))
        np.testing.assert_allclose(got, np.mean(alone, axis=0), rtol=1e-5)


def test_a_loss_has_no_nan_where_the_teacher_is_certain() -> None:
    answers = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    for targets in ("soft", "hard"):
        config = DistillConfig(targets=targets)
        assert np.isfinite(distillation_loss(config, BINARY)(np.array([[0], [1]]), answers)).all()


def test_a_student_no_smaller_than_its_teacher_is_refused(parent: Any, context: Context) -> None:
    for units in ([64, 32], [500]):
        with pytest.raises(ConfigError, match=r"a student must be smaller"):
            distill(parent, DistillConfig(hidden_units=units), context)


def test_a_student_of_a_users_builder(parent: Any, context: Context, tmp_path: Path) -> None:
    """It is shrunk where the builder follows `hidden_units`, and refused where it does not."""
    (tmp_path / "mine.py").write_text(
        "import tf_keras\n"
        "def of(units, config):\n"
        "    x = tf_keras.Input((1,), name='n0_xf')\n"
        "    y = tf_keras.layers.Dense(units, 'relu')(x)\n"
        "    return tf_keras.Model({'n0_xf': x}, tf_keras.layers.Dense(1, 'sigmoid')(y))\n"
        "def follows(features, config):\n"
        "    return of(config.model.hidden_units[0], config)\n"
        "def fixed(features, config):\n"
        "    return of(3000, config)\n"
    )

    def of(function: str) -> Context:
        model = ModelConfig(builder=f"mine.py:{function}")
        return dataclasses.replace(context, model=model, folder=tmp_path)

    with pytest.raises(ConfigError, match="not known") as refused:
        distill(parent, DistillConfig(), of("follows"))
    assert "Give hidden_units" in refused.value.hint
    made = distill(parent, DistillConfig(hidden_units=[5], steps=5), of("follows"))
    assert made.model.count_params() == 16
    with pytest.raises(ConfigError, match="must be smaller") as refused:
        distill(parent, DistillConfig(hidden_units=[5]), of("fixed"))
    assert "must build what config.model.hidden_units says" in refused.value.hint
