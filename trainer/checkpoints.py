"""Checkpoints of a training run: everything that a killed run needs to end as if it was not."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from trainer.storage import write_errors

if TYPE_CHECKING:
    import tf_keras

log = logging.getLogger(__name__)

_DIGEST_FILE = "made_by.json"


class TrainState(tf.Module):
    """What training remembers from epoch to epoch, beside weights and optimizer.

    Attributes:
        epoch: Epochs done.
        loss: Training loss of the last one of them; NaN before the first.
        val_loss: Validation loss then; NaN without a validation split.
        best_value: Best value so far of the metric that epochs are compared by (NaN at first).
        best_val_loss: Validation loss of that epoch.
        best_epoch: The epoch it was measured in, from 1; 0 without one.
        best_train_loss: Training loss of that epoch.
        waited_epochs: Epochs since then.
        stopped: Whether early stopping has ended the training.
    """

    def __init__(self) -> None:
        super().__init__()
        # Float64 and int64: what they were is what they are after a restore.
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.loss = tf.Variable(float("nan"), dtype=tf.float64, trainable=False)
        self.val_loss = tf.Variable(float("nan"), dtype=tf.float64, trainable=False)
        self.best_value = tf.Variable(float("nan"), dtype=tf.float64, trainable=False)
        self.best_val_loss = tf.Variable(float("nan"), dtype=tf.float64, trainable=False)
        self.best_epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best_train_loss = tf.Variable(float("nan"), dtype=tf.float64, trainable=False)
        self.waited_epochs = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.stopped = tf.Variable(False, trainable=False)


class Checkpoints:
    """The checkpoints of one run, in one folder.

    The model, the optimizer's slots and the state are written together, under a new name, and the
    folder's `checkpoint` file is switched over last: a kill at any moment leaves the previous one.
    The best weights have files of their own, named by epoch, which are removed only when a later
    checkpoint no longer refers to them.

    Args:
        folder: Where they are.
        model: The model.
        optimizer: Its optimizer.
        state: What else is remembered.
        made_by: What the training follows from, as JSON: config, fingerprints of the user's code,
            data. A checkpoint of another training, or of a model with other variables, would be
            restored in part and without a word; so a digest of all that lies beside them, and
            others are removed here.
        keep: How many of the latest checkpoints stay on disk.

    Raises:
        StorageError: The folder cannot be written.
    """

    def __init__(
        self,
        folder: str,
        model: tf_keras.Model,
        optimizer: tf_keras.optimizers.Optimizer,
        state: TrainState,
        made_by: Mapping[str, Any],
        keep: int = 1,
    ) -> None:
        self._folder = folder
        with write_errors(folder):
            _discard_others(folder, _digest(model, optimizer, made_by))
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
            max_to_keep=keep,
            checkpoint_name="epoch",
        )

    @property
    def epochs(self) -> list[int]:
        """The epochs that there are checkpoints of."""
        return [int(path.rpartition("-")[2]) for path in self._manager.checkpoints]

    def restore(self, epoch: int | None = None) -> int:
        """Restores the checkpoint of an epoch, if there is one; returns the epochs done.

        Args:
            epoch: One of `epochs`, or 0 to start anew; None: the latest.
        """
        found = dict(zip(self.epochs, self._manager.checkpoints, strict=True))
        path = found.get(max(found, default=0) if epoch is None else epoch)
        if path is not None:
            self._manager.checkpoint.restore(path)
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

    def copied_to(self, folder: str) -> str:
        """Copies the latest checkpoint into another folder, in place of what is there; returns it.

        For one that is to outlive its own: TFX removes the outputs of a node that fails.
        """
        with write_errors(folder):
            if tf.io.gfile.exists(folder):
                tf.io.gfile.rmtree(folder)
            tf.io.gfile.makedirs(folder)
            latest = self._manager.latest_checkpoint
            for path in tf.io.gfile.glob(f"{latest}.*"):
                tf.io.gfile.copy(path, os.path.join(folder, os.path.basename(path)))
        return folder

    def _best(self, epoch: int) -> str:
        return os.path.join(self._folder, f"best-{epoch}")

    def _remove_worse(self) -> None:
        best = int(self._state.best_epoch.numpy())
        for path in tf.io.gfile.glob(os.path.join(self._folder, "best-*")):
            if not os.path.basename(path).startswith(f"best-{best}."):
                tf.io.gfile.remove(path)


def _digest(
    model: tf_keras.Model, optimizer: tf_keras.optimizers.Optimizer, made_by: Mapping[str, Any]
) -> str:
    """JSON with the SHA-256 of what a checkpoint depends on."""
    held = [*model.variables, *optimizer.variables]
    variables = [(v.name, v.shape.as_list(), v.dtype.name) for v in held]
    content = json.dumps([made_by, type(optimizer).__name__, variables], sort_keys=True)
    return json.dumps({"sha256": hashlib.sha256(content.encode()).hexdigest()})


def _discard_others(folder: str, digest: str) -> None:
    """Empties the folder unless its checkpoints have this digest."""
    path = os.path.join(folder, _DIGEST_FILE)
    if tf.io.gfile.exists(path):
        with tf.io.gfile.GFile(path) as file:
            if file.read() == digest:
                return
    if tf.train.latest_checkpoint(folder):
        log.info(
            "discarded the checkpoints in %s: they are of another model, config or code", folder
        )
    if tf.io.gfile.exists(folder):
        tf.io.gfile.rmtree(folder)
    tf.io.gfile.makedirs(folder)
    with tf.io.gfile.GFile(f"{path}.tmp", "w") as file:
        file.write(digest)
    tf.io.gfile.rename(f"{path}.tmp", path)


def random_generators(model: tf_keras.Model) -> list[tf.random.Generator]:
    """The random generators of a model's layers (Dropout and its kin), in the layers' order.

    Keras keeps them out of its own checkpoints, under a private name.
    """
    owners = [getattr(layer, "_random_generator", None) for layer in model.submodules]
    found = [getattr(owner, "_generator", None) for owner in owners]
    return [generator for generator in found if isinstance(generator, tf.random.Generator)]
