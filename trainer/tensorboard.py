"""What TensorBoard shows of a training run: scalars, histograms, the graph, a profile."""

from __future__ import annotations

import logging
from typing import Any

import tensorflow as tf
import tf_keras

from trainer.config import TrainConfig

log = logging.getLogger(__name__)


def callbacks(folder: str, train: TrainConfig) -> list[tf_keras.callbacks.Callback]:
    """Those that write what `train.tensorboard` and `train.profile_steps` ask for."""
    found: list[tf_keras.callbacks.Callback] = []
    if train.tensorboard:
        found.append(TensorBoardLogs(folder, train))
    if train.profile_steps:
        found.append(Profile(folder, train))
    return found


class TensorBoardLogs(tf_keras.callbacks.Callback):
    """Writes an epoch's scalars at the global step; with `full`, histograms and the graph, too.

    Keras's own callback always writes the graph and sets up a profiler, which costs more than the
    epoch of a small model.
    """

    def __init__(self, folder: str, train: TrainConfig) -> None:
        super().__init__()
        self._writer = tf.summary.create_file_writer(folder)
        self._train = train
        self._full = train.tensorboard == "full"
        self._graph_written = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._full and not self._graph_written and self.model.inputs:
            self._graph_written = True
            with self._writer.as_default():
                tf.summary.graph(_forward_graph(self.model))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        step = min((epoch + 1) * self._train.steps_per_epoch, self._train.steps)
        with self._writer.as_default():
            for name, value in (logs or {}).items():
                tf.summary.scalar(f"epoch_{name}", float(value), step=step)
            for weight in self.model.trainable_variables if self._full else ():
                tf.summary.histogram(weight.name.removesuffix(":0"), weight, step=step)
        self._writer.flush()


class Profile(tf_keras.callbacks.Callback):
    """Profiles about `train.profile_steps` steps once, below `plugins/profile` of the folder.

    The first call of the training function is left out: it traces the graph. A profile ends with
    the epoch at the latest, so that it holds no validation and no checkpoint.
    """

    def __init__(self, folder: str, train: TrainConfig) -> None:
        super().__init__()
        self._folder = folder
        self._train = train
        self._left = train.profile_steps
        self._done = 0
        self._warm = False
        self._first: int | None = None

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._first is not None or not self._warm or self._left <= 0:
            return
        try:
            tf.profiler.experimental.start(self._folder)
        except tf.errors.AlreadyExistsError:
            log.warning("no profile was made: another one runs in this process")
            self._left = 0
            return
        self._first = batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._warm = True
        if self._first is None:
            return
        self._done = batch + 1 - self._first
        if self._done >= self._left:
            self._stop(self._done)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._first is not None:
            self._stop(self._done)
        elif self._left > 0 and (epoch + 1) * self._train.steps_per_epoch >= self._train.steps:
            log.warning("no profile was made: the first steps, which trace the graph, were all")

    def _stop(self, steps: int) -> None:
        self._first, self._left = None, 0
        tf.profiler.experimental.stop()
        log.info("profiled %d steps: tensorboard --logdir %s", steps, self._folder)


def _forward_graph(model: tf_keras.Model) -> tf.Graph:
    """The graph from inputs to predictions, named by layers."""
    specs = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), model.input)
    return tf.function(lambda inputs: model(inputs, training=False)).get_concrete_function(
        specs
    ).graph  # fmt: skip
