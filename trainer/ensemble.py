"""Ensembles: members trained one after the other, then joined in one flat model that averages.

Bagging is Leo Breiman's (Machine Learning 24, 1996); snapshots are Gao Huang et al.'s, "Snapshot
Ensembles: Train 1, Get M for Free", 2017 (https://arxiv.org/abs/1704.00109). Each member has
a folder of checkpoints, so a killed run takes what is finished from there and goes on with the
rest.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tfx_pipeline.errors import ConfigError
from trainer import progress
from trainer.config import TrainConfig
from trainer.ensemble_config import EnsembleConfig, check_train
from trainer.input import Split
from trainer.models.build import LABEL_UNIT_LAYER, LabelScale, in_label_unit
from trainer.optimizers.config import ScheduleConfig

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class Member:
    """How one member is trained.

    Attributes:
        number: From 1.
        train: Its `train` section.
        split: Its rows.
        run_dir: Folder of its checkpoints and event files.
        start: Weights that it starts from, of the member before it; None: new ones.
    """

    number: int
    train: TrainConfig
    split: Split
    run_dir: str
    start: list[Any] | None = None


def check(ensemble: EnsembleConfig, train: TrainConfig, split: Split) -> None:
    """Checks, before anything is trained, that the members can be.

    Raises:
        ConfigError: As `check_train`; or bagging of rows that are not held in memory.
    """
    if ensemble.method == "bagging" and split.held is None:
        raise ConfigError(
            f"model.ensemble: bagging draws from rows in memory, and the {split.rows} rows of "
            f"split {split.name!r} are streamed",
            where="model.ensemble.method",
            hint=f"Raise train.cache_max_mb (now {train.cache_max_mb}), or set method: average.",
        )
    check_train(ensemble, train)


def members(
    ensemble: EnsembleConfig, train: TrainConfig, split: Split, run_dir: str
) -> Iterator[Member]:
    """How each member is trained, in order; `start` is for the caller to fill in.

    Args:
        ensemble: The section.
        train: The `train` section, of which a member's seed differs; snapshots share its steps.
        split: The training rows.
        run_dir: Of the whole run.
    """
    count = ensemble.members
    for index in range(count):
        own = train.model_copy(update={"seed": train.seed + index})
        rows = split
        if ensemble.method == "bagging":
            rows = replace(split, bootstrap=train.seed + index)
        if ensemble.method == "snapshot":
            steps = train.steps // count + (train.steps % count if index == count - 1 else 0)
            own = own.model_copy(
                update={
                    "steps": steps,
                    "steps_per_epoch": min(train.steps_per_epoch, steps),
                    # Equation 2 of the paper, one cycle of it.
                    "schedule": ScheduleConfig(name="cosine"),
                }
            )
        yield Member(index + 1, own, rows, os.path.join(run_dir, f"member-{index + 1}"))


def trained(
    ensemble: EnsembleConfig | None,
    train: TrainConfig,
    split: Split,
    run_dir: str,
    scale: LabelScale,
    train_one: Callable[[Member], tf_keras.Model],
    finish: Callable[[tf_keras.Model], tf_keras.Model | None],
) -> tf_keras.Model | None:
    """Trains one model, or every member and joins them. Of the finished ones only the weights are
    held.

    Args:
        ensemble: The section; None: one model.
        train: The `train` section.
        split: The training rows.
        run_dir: Of the whole run.
        scale: Of the label.
        train_one: Trains a member, or takes it from its checkpoints.
        finish: From a trained model to the form it is exported in; None on workers that export
            nothing.

    Returns:
        The finished model. Of an ensemble, one without models in it: the members' layers under
        names of their own, and the mean of their answers: probabilities, or values. None where
        `finish` gave none.
    """
    if ensemble is None:
        return finish(train_one(Member(1, train, split, run_dir)))
    joined = Joined(scale)
    start = None
    for member in members(ensemble, train, split, run_dir):
        with progress.part(member.number, ensemble.members, "member"):
            model = train_one(replace(member, start=start))
        start = model.get_weights() if ensemble.method == "snapshot" else None
        if (one := finish(model)) is not None:
            joined.add(one)
        del model, one
        gc.collect()  # Keras models are circles of references, and hold the optimizer's slots.
    return joined.model() if joined.count else None


class Joined:
    """Members put side by side in one functional model. TF-MOT rejects models inside a model."""

    def __init__(self, scale: LabelScale) -> None:
        self._scale = scale
        self._inputs: Any = None
        self._by_name: dict[str, Any] = {}
        self._outputs: list[Any] = []
        self._in_unit = False

    @property
    def count(self) -> int:
        """How many members there are."""
        return len(self._outputs)

    def add(self, model: tf_keras.Model) -> None:
        """Adds a copy of a functional model under names of its own. All have the same inputs."""
        import tensorflow as tf
        import tf_keras

        self._in_unit = model.layers[-1].name == LABEL_UNIT_LAYER
        if self._in_unit:
            # The unit is the same for all: it stays one layer, the last, as compression knows it.
            model = tf_keras.Model(model.input, model.layers[-1].input)
        if not self._outputs:
            # New ones: from a model's own its layers would be held, through what they feed.
            pairs = list(zip(model.input_names, model.inputs, strict=True))
            self._by_name = {
                name: tf_keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)
                for name, tensor in pairs
            }
            names = {id(tensor): name for name, tensor in pairs}
            self._inputs = tf.nest.map_structure(
                lambda tensor: self._by_name[names[id(tensor)]], model.input
            )
        prefix = f"member_{len(self._outputs) + 1}_"

        def renamed(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
            config = layer.get_config()
            return type(layer).from_config(config | {"name": prefix + config["name"]})

        copy = tf_keras.models.clone_model(
            model, [self._by_name[name] for name in model.input_names], renamed
        )
        copy.set_weights(model.get_weights())
        self._outputs.append(copy.output)

    def model(self) -> tf_keras.Model:
        """The mean of all members' answers."""
        import tf_keras

        mean = tf_keras.layers.Average(name="mean")(self._outputs)
        result = tf_keras.Model(self._inputs, mean, name="ensemble")
        return in_label_unit(result, self._scale) if self._in_unit else result
