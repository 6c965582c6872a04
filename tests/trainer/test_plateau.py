"""Reduce on plateau: when it cuts, and that a resumed run remembers it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.rows import compiled, split
from trainer.config import TrainConfig

pytestmark = pytest.mark.slow  # Trains three times.


def config(**schedule: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "steps": 10,
            "steps_per_epoch": 2,
            "batch_size": 48,
            "learning_rate": 0.01,
            "tensorboard": False,
            # No epoch is so much better than the first.
            "schedule": {"name": "plateau", "min_delta": 1000.0} | schedule,
        }
    )


def rates(train: TrainConfig, where: Path, stop_at: int = 99) -> tuple[list[float], Any]:
    """The learning rate that each epoch ends with, and the model."""
    import tf_keras

    from trainer.fit import fit

    found: list[float] = []

    class Note(tf_keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == stop_at:
                raise InterruptedError

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            found.append(float(self.model.optimizer.learning_rate.numpy()))

    model = compiled(train)
    with contextlib.suppress(InterruptedError):
        fit(model, train, split(), split(rows=60, seed=2), str(where), {}, extra=[Note()])
    return found, model


def test_cuts_after_patience_down_to_its_end() -> None:
    train = config(patience_epochs=2, factor=0.5, end=0.3)
    from trainer.callbacks import CutOnPlateau
    from trainer.checkpoints import TrainState

    model = compiled(train)
    state = TrainState()
    plateau = CutOnPlateau.of(model, train, state)
    assert plateau is not None
    scales = []
    for epoch, loss in enumerate([5000.0, 3000.0, 2999.0, 2998.0, 2997.0, 2996.0, 900.0]):
        plateau.on_epoch_end(epoch, {"loss": 0.0, "val_loss": loss})
        scales.append(float(state.plateau.scale.numpy()))
    assert scales == pytest.approx([1, 1, 1, 0.5, 0.5, 0.3, 0.3])
    assert CutOnPlateau.of(compiled(TrainConfig()), TrainConfig(), TrainState()) is None


def test_a_resumed_run_goes_on_at_the_rate_it_had(tmp_path: Path) -> None:
    train = config(patience_epochs=1, factor=0.5)
    whole, undisturbed = rates(train, tmp_path / "whole")
    assert whole == pytest.approx([0.01, 0.01, 0.005, 0.0025, 0.00125])
    rates(train, tmp_path / "resumed", stop_at=3)
    rest, resumed = rates(train, tmp_path / "resumed")
    assert rest == pytest.approx(whole[3:])
    for one, other in zip(undisturbed.get_weights(), resumed.get_weights(), strict=True):
        assert one.tobytes() == other.tobytes()
