"""Checkpoints are gone on from by the run that made them, and by no other."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras

from trainer.checkpoints import Checkpoints, TrainState

MADE_BY = {"custom_config": {"code": {"mine.py:build": "abc"}, "train": {"steps": 3}}}


def model(units: int, name: str = "hidden") -> tf_keras.Model:
    tf_keras.utils.set_random_seed(1)
    inputs = tf_keras.Input(shape=(4,), name="x")
    hidden = tf_keras.layers.Dense(units, name=name)(inputs)
    made = tf_keras.Model(inputs, tf_keras.layers.Dense(1, name="head")(hidden))
    made.compile(tf_keras.optimizers.Adam(0.1), "mse")
    return made


def open_at(
    folder: Path, built: tf_keras.Model, made_by: dict[str, Any]
) -> tuple[Checkpoints, TrainState]:
    state = TrainState()
    return Checkpoints(str(folder), built, built.optimizer, state, made_by), state


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with the checkpoint of epoch 3, and best weights."""
    built = model(8)
    checkpoints, state = open_at(tmp_path, built, MADE_BY)
    assert checkpoints.restore() == 0
    built.fit(np.ones((8, 4)), np.ones((8, 1)), verbose=0)
    state.epoch.assign(3)
    state.best_epoch.assign(2)
    checkpoints.save_best()
    checkpoints.save()
    return tmp_path


def test_the_same_run_goes_on(trained: Path) -> None:
    built = model(8)
    before = built.get_weights()
    assert open_at(trained, built, MADE_BY)[0].restore() == 3
    assert any((a != b).any() for a, b in zip(before, built.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("units", "name", "made_by"),
    [
        (9, "hidden", MADE_BY),
        (8, "renamed", MADE_BY),
        (8, "hidden", {"custom_config": {"code": {"mine.py:build": "abd"}}}),
    ],
    ids=["other shapes", "other names", "other code"],
)
def test_another_run_starts_anew_and_says_so_once(
    trained: Path, caplog: pytest.LogCaptureFixture, units: int, name: str, made_by: dict[str, Any]
) -> None:
    built = model(units, name)
    before = built.get_weights()
    with caplog.at_level(logging.INFO, "trainer.checkpoints"):
        checkpoints, state = open_at(trained, built, made_by)
        assert checkpoints.restore() == 0
    assert [record.message for record in caplog.records] == [
        f"discarded the checkpoints in {trained}: they are of another model, config or code"
    ]
    for one, other in zip(before, built.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not list(trained.glob("*epoch*"))
    assert not list(trained.glob("best-*"))
    # And goes on from its own.
    state.epoch.assign(1)
    checkpoints.save()
    assert open_at(trained, model(units, name), made_by)[0].restore() == 1


def test_as_many_checkpoints_are_kept_as_asked_for(tmp_path: Path) -> None:
    built, state = model(8), TrainState()
    checkpoints = Checkpoints(str(tmp_path), built, built.optimizer, state, MADE_BY, keep=2)
    for epoch in (1, 2, 3):
        state.epoch.assign(epoch)
        checkpoints.save()
    again, after = model(8), TrainState()
    checkpoints = Checkpoints(str(tmp_path), again, again.optimizer, after, MADE_BY, keep=2)
    assert checkpoints.epochs == [2, 3]
    assert checkpoints.restore(2) == 2
    assert checkpoints.restore() == 3


def test_starting_anew_leaves_the_weights_alone(trained: Path) -> None:
    built = model(8)
    before = built.get_weights()
    assert open_at(trained, built, MADE_BY)[0].restore(0) == 0
    for one, other in zip(before, built.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_optimizer_starts_anew(trained: Path) -> None:
    built = model(8)
    built.compile(tf_keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    assert open_at(trained, built, MADE_BY)[0].restore() == 0


def test_checkpoints_of_unknown_origin_are_discarded(trained: Path) -> None:
    (trained / "made_by.json").unlink()
    assert open_at(trained, model(8), MADE_BY)[0].restore() == 0
