"""Backbones that learn only after a while: frozen first, then trained with the rest."""

from __future__ import annotations

import logging
from typing import Any

import tf_keras

from trainer.config import TrainConfig

log = logging.getLogger(__name__)


def unfreezing(model: tf_keras.Model, train: TrainConfig) -> list[tf_keras.callbacks.Callback]:
    """The callback that freezes and unfreezes the layers with a number `assay_frozen_steps`; none
    where no encoder has set one."""
    frozen = [layer for layer in model.layers if hasattr(layer, "assay_frozen_steps")]
    return [Unfreeze(frozen, train.steps_per_epoch)] if frozen else []


class Unfreeze(tf_keras.callbacks.Callback):
    """Keeps layers frozen until the first epoch that begins at or after their step.

    Which layers learn follows from the epoch alone, so a resumed run goes on as an undisturbed one
    would. The optimizer has slots for all of them from the start: it was built before.
    """

    def __init__(self, layers: list[tf_keras.layers.Layer], steps_per_epoch: int) -> None:
        super().__init__()
        self._layers = layers
        self._steps_per_epoch = steps_per_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        changed = 0
        for layer in self._layers:
            learns = epoch * self._steps_per_epoch >= layer.assay_frozen_steps
            changed += layer.trainable != learns
            layer.trainable = learns
        if changed:
            state = "learn" if learns else "are frozen"
            log.info("epoch %d: %d layers %s from here", epoch + 1, changed, state)
            # Which variables get gradients was decided when the step was traced.
            self.model.make_train_function(force=True)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for layer in self._layers:
            layer.trainable = True
