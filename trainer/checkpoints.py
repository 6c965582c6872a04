"""Checkpoints of a training run: everything that a killed run needs to end as if it was not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import tensorflow as tf

from trainer.storage import write_errors

if TYPE_CHECKING:
    import tf_keras


class TrainState(tf.Module):
    """What training remembers from epoch to epoch, beside weights and optimizer.

    Attributes:
        epoch: Epochs done.
        best_loss: Lowest validation loss so far (infinity at first).
        best_epoch: The epoch it was measured in, from 1; 0 without one.
        waited_epochs: Epochs since then.
        stopped: Whether early stopping has ended the training.
    """

    def __init__(self) -> None:
        super().__init__()
        # Float64 and int64: what they were is what they are after a restore.
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best_loss = tf.Variable(float("inf"), dtype=tf.float64, trainable=False)
        self.best_epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.waited_epochs = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.stopped = tf.Variable(False, trainable=False)


class Checkpoints:
    """The checkpoints of one run, in one folder.

    The model, the optimizer's slots and the state are written together, under a new name, and the
    folder's `checkpoint` file is switched over last: a kill at any moment leaves the previous one.
    The best weights have files of their own, named by epoch, which are removed only when a later
    checkpoint no longer refers to them.
    """

    def __init__(
        self,
        folder: str,
        model: tf_keras.Model,
        optimizer: tf_keras.optimizers.Optimizer,
        state: TrainState,
    ) -> None:
        self._folder = folder
        self._state = state
        self._weights = tf.train.Checkpoint(model=model)
        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(
                model=model,
                optimizer=optimizer,
                state=state,
                random_generators=random_generators(model),
            ),
            folder,
            max_to_keep=1,
            checkpoint_name="epoch",
        )

    def restore(self) -> int:
        """Restores the latest checkpoint, if there is one; returns the epochs done."""
        self._manager.restore_or_initialize()
        return int(self._state.epoch.numpy())

    def save(self) -> None:
        """Saves the state after an epoch.

        Raises:
            StorageError: The disk is full or the folder cannot be written.
        """
        with write_errors(self._folder):
            self._manager.save(checkpoint_number=self._state.epoch)
            self._remove_worse()

    def save_best(self) -> None:
        """Keeps the present weights as those of `state.best_epoch`. Call it before `save`."""
        with write_errors(self._folder):
            self._weights.write(self._best(int(self._state.best_epoch.numpy())))

    def restore_best(self) -> None:
        """Puts the best weights back into the model."""
        epoch = int(self._state.best_epoch.numpy())
        self._weights.read(self._best(epoch)).assert_existing_objects_matched()

    def _best(self, epoch: int) -> str:
        return os.path.join(self._folder, f"best-{epoch}")

    def _remove_worse(self) -> None:
        best = int(self._state.best_epoch.numpy())
        for path in tf.io.gfile.glob(os.path.join(self._folder, "best-*")):
            if not os.path.basename(path).startswith(f"best-{best}."):
                tf.io.gfile.remove(path)


def random_generators(model: tf_keras.Model) -> list[tf.random.Generator]:
    """The random generators of a model's layers (Dropout and its kin), in the layers' order.

    Keras keeps them out of its own checkpoints, under a private name.
    """
    owners = [getattr(layer, "_random_generator", None) for layer in model.submodules]
    found = [getattr(owner, "_generator", None) for owner in owners]
    return [generator for generator in found if isinstance(generator, tf.random.Generator)]
