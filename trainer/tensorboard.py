"""What TensorBoard shows of a training run."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from trainer.config import TrainConfig


class TensorBoardScalars(tf_keras.callbacks.Callback):
    """Writes an epoch's scalars for TensorBoard, at the global step.

    Keras's own callback also writes the graph and sets up a profiler, which costs more than the
    epoch of a small model.
    """

    def __init__(self, folder: str, train: TrainConfig) -> None:
        super().__init__()
        self._writer = tf.summary.create_file_writer(folder)
        self._train = train

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        step = min((epoch + 1) * self._train.steps_per_epoch, self._train.steps)
        with self._writer.as_default():
            for name, value in (logs or {}).items():
                tf.summary.scalar(f"epoch_{name}", float(value), step=step)
        self._writer.flush()
