"""One trial: the config with its values, built and trained as the Trainer does, judged on val."""

from __future__ import annotations

import gc
import logging
import math
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf
import tf_keras

from tfx_pipeline.errors import ConfigError, NodeFailed, StorageError, one_sentence
from trainer import fit, progress, strategy
from trainer.config import TrainConfig
from trainer.input import Split, all_batches, first_rows
from trainer.loading import Loaded, TrainerConfig, label_scale, load
from trainer.optimizers.average import Averages
from trainer.regularize.batches import preparation
from trainer.run import as_served, build_compiled
from trainer.selection import judges, keeps_best
from trainer.tuning.config import TuneConfig
from trainer.tuning.metrics import measure, objective_of
from trainer.tuning.space import WARMUP_HINT, applied, fault_of_warmup

log = logging.getLogger(__name__)

_TIMED_CALLS = 200
_WARMING_CALLS = 20

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Setting:
    """What all trials of a search share; it goes to their processes.

    Attributes:
        custom_config: As `trainer.run.run_fn` takes it, and the dumped section `tune`.
        transform_graph_path: Folder of the TransformGraph.
        train_files: Patterns of the transformed examples to train on.
        eval_files: Those to judge on.
        folder: Where each trial has a folder.
    """

    custom_config: Mapping[str, Any]
    transform_graph_path: str
    train_files: Sequence[str]
    eval_files: Sequence[str]
    folder: str

    @property
    def config(self) -> TrainerConfig:
        """The sections `transform`, `model` and `train`."""
        return TrainerConfig.read(self.custom_config)

    @property
    def tune(self) -> TuneConfig:
        """The section `tune`."""
        return TuneConfig.model_validate(self.custom_config["tune"])


@dataclass(frozen=True)
class Order:
    """A trial to run.

    Attributes:
        id: Its folder, too.
        values: Field of the config to value.
        rounds: Rounds to train, of those that a whole trial has.
        goes_on_from: The trial whose training it goes on with; empty: none.
    """

    id: str
    values: Mapping[str, Any]
    rounds: int
    goes_on_from: str = ""


@dataclass(frozen=True)
class Result:
    """How a trial went.

    Attributes:
        state: `pruned`: ended early; its metrics are those of then.
        measured: Metrics of the validation split, `parameters` and, where it is budgeted,
            `latency_us`; empty for a failed trial.
        history: The objective's metric after each round that this process trained.
        steps: Optimizer steps behind the weights that were measured.
        seconds: Wall time.
        reason: Why it was pruned or failed.
    """

    state: State
    measured: dict[str, float] = field(default_factory=dict)
    history: list[float] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    reason: str = ""


# Asked after each round, from 1: the objective's values so far and the steps done. What it answers
# is why the trial ends, "" where it goes on.
Judge = Callable[[list[float], int], str]


@dataclass(frozen=True)
class Rows:
    """What trials train on and are judged by, read once a process.

    Attributes:
        data: The splits, as the Trainer loads them.
        val: The validation split.
        val_label: Its label, [N, width].
        held: Its features in batches, where they fit in memory.
    """

    data: Loaded
    val: Split
    val_label: np.ndarray
    held: list[dict[str, tf.Tensor]] | None

    def batches(self) -> Iterable[Mapping[str, tf.Tensor]]:
        """The features of the validation split."""
        return self.held or (features for features, _ in all_batches(self.val))


def read_rows(setting: Setting) -> Rows:
    """Reads the splits.

    Raises:
        ConfigError: There is no validation split, or training would need several processes.
        DataError: The examples cannot be read.
    """
    config = setting.config
    if config.train.strategy in ("multi_worker", "horovod"):
        raise ConfigError(
            f"train.strategy is {config.train.strategy}, and a trial runs in one process",
            where="train.strategy",
            hint="Tune with `train.strategy: mirrored`, and write the best values into the config.",
        )
    data = load(setting, config)
    val = data.val_split
    if val is None:
        raise ConfigError(
            "trials are judged on the validation split, and there is none",
            where="data.split",
            hint="Set data.split.val_fraction above 0 (or provide a `val` split). The eval split "
            "is the gate's and is not looked at.",
        )
    held = [features for features, _ in all_batches(val)] if val.held else None
    return Rows(data, val, np.concatenate([y.numpy() for _, y in all_batches(val)]), held)


def run_trial(setting: Setting, rows: Rows, order: Order, judge: Judge) -> Result:
    """Trains and measures one trial. What goes wrong with it is its result, not an error.

    Raises:
        StorageError: The folder cannot be written: the next trial would fail too.
    """
    start = time.perf_counter()
    watch = _Watch(rows, setting, order.rounds, judge)
    # What earlier trials, or other users of Keras, have left in this process.
    tf_keras.backend.clear_session()
    try:
        result = _run(setting, rows, order, watch)
    except (StorageError, OSError):
        raise
    except Exception as error:
        # Whatever a trial's values lead to is its own, and not the search's end.
        log.info("trial %s failed", order.id, exc_info=True)
        reason = one_sentence(error)
        if isinstance(error, ConfigError) and error.where:
            reason = f"{error.where}: {reason}"
        result = Result("failed", history=watch.history, steps=watch.steps, reason=reason)
    finally:
        # A model's graphs stay with Keras until they are forgotten here.
        tf_keras.backend.clear_session()
        gc.collect()
    return replace(result, seconds=round(time.perf_counter() - start, 3))


def _run(setting: Setting, rows: Rows, order: Order, watch: _Watch) -> Result:
    base, tune = setting.config, setting.tune
    model_config, train = applied(order.values, base.model, base.train)
    if fault := fault_of_warmup(tune, train):
        raise ConfigError(fault, where="train.schedule.warmup_steps", hint=WARMUP_HINT)
    scope = strategy.make_strategy(train)
    train = strategy.scaled(train, scope.num_replicas_in_sync)
    steps = tune.steps_of_a_trial(train.steps)
    watch.a_round, watch.all_steps = -(-steps // tune.rounds_of_a_trial), steps
    watch.averaged = train.ema is not None
    train = train.model_copy(
        update={
            "steps": steps,
            "steps_per_epoch": watch.a_round,
            "tensorboard": False,
            "profile_steps": 0,
            "checkpoints_to_keep": 1,
        }
    )
    config = replace(base, model=model_config, train=train)
    data = replace(rows.data, scale=label_scale(config, rows.data.train_split))
    # Without the number of rounds: another trial may go on where this one ends.
    made_by = {"values": dict(order.values), "setting": dict(setting.custom_config)}
    run_dir = _run_dir(setting, order)
    with scope.scope(), progress.listen(lambda event: None):
        model = build_compiled(config, data)
        prepare = preparation(train, base.transform, data.features, data.tft_output, base.folder)
        splits = data.train_split, rows.val if _needs_val(train) else None
        try:
            fit.fit(model, train, *splits, run_dir, made_by, extra=[watch], prepare=prepare)
            if keeps_best(train) or train.ema is not None:
                watch.measured = None  # Other weights may have been brought in at the end.
            watch.steps = watch.steps or steps  # Before a kill, it had come to the end.
        except _Ended:
            # A trial that goes on from the end of another one has not measured yet.
            watch.measured = watch.measured or watch.measure_round(model)
    measured = watch.measured or watch.measure(model)
    if not math.isfinite(measured[watch.metric]):
        raise NodeFailed(f"{watch.metric} cannot be told on the validation split")
    to_serve = as_served(config, data, model)  # A budget bounds what is exported.
    measured["parameters"] = float(to_serve.count_params())
    if tune.budgets.latency_us is not None:
        measured["latency_us"] = latency_us(to_serve, rows.val)
    state: State = "pruned" if watch.ended_for else "complete"
    return Result(state, measured, watch.history, watch.steps, reason=watch.ended_for)


def _needs_val(train: TrainConfig) -> bool:
    """Whether training itself looks at the validation split; the trial measures by itself."""
    return judges(train) or train.schedule.name == "plateau"


class _Ended(Exception):
    """Raised to leave `fit` before the last step."""


class _Watch(tf_keras.callbacks.Callback):  # type: ignore[misc]
    """Measures after every round, and ends the training where the judge says so.

    It ends at the beginning of the next round: the last one's checkpoint has been written by then.

    Attributes:
        a_round: Steps of a round, and
        all_steps: of a whole trial.
        averaged: Whether it is the averaged weights that count.
        metric: The objective's.
        history: Its values, one a round.
        measured: All metrics after the latest round.
        steps: Done so far.
        ended_for: Why the judge has ended the trial, or "".
    """

    def __init__(self, rows: Rows, setting: Setting, rounds: int, judge: Judge) -> None:
        super().__init__()
        self._rows, self._rounds, self._judge = rows, rounds, judge
        self._label = setting.config.transform.label
        self.a_round = self.all_steps = 0
        self.averaged = False
        self.metric = objective_of(setting.tune.objective, self._label.task)
        self.history: list[float] = []
        self.measured: dict[str, float] | None = None
        self.steps = 0
        self.ended_for = ""
        self._call: Callable[..., tf.Tensor] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.steps = min(epoch * self.a_round, self.all_steps)
        if self.ended_for or epoch >= self._rounds:
            raise _Ended

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.steps = min((epoch + 1) * self.a_round, self.all_steps)
        self.measured = self.measure_round(self.model)
        self.history.append(self.measured[self.metric])
        if self.steps < self.all_steps and epoch + 1 < self._rounds:
            self.ended_for = self._judge(self.history, self.steps)

    def measure_round(self, model: tf_keras.Model) -> dict[str, float]:
        """As `measure`, while the model is trained: of its averaged weights, if it has them."""
        with Averages(model).shown() if self.averaged else nullcontext():
            return self.measure(model)

    def measure(self, model: tf_keras.Model) -> dict[str, float]:
        """Every metric of the validation split."""
        if self._call is None:  # Of one model: traced once a trial.
            self._call = tf.function(
                lambda given: model(given, training=False), reduce_retracing=True, autograph=False
            )
        names = model.input_names
        answers = [
            self._call({name: batch[name] for name in names}) for batch in self._rows.batches()
        ]
        predictions = np.concatenate([answer.numpy() for answer in answers])
        label = self._label
        return measure(label.task, self._rows.val_label, predictions, label.quantiles)


def latency_us(model: tf_keras.Model, split: Split) -> float:
    """Median wall time of one row through the model as a graph, in microseconds."""
    row = {name: tf.constant(values) for name, values in first_rows(split, 1).items()}
    inputs = {name: row[name] for name in model.input_names}
    call = tf.function(lambda given: model(given, training=False)).get_concrete_function(inputs)
    seconds = []
    for _ in range(_WARMING_CALLS + _TIMED_CALLS):
        start = time.perf_counter()
        call(inputs)
        seconds.append(time.perf_counter() - start)
    return 1e6 * statistics.median(seconds[_WARMING_CALLS:])


def _run_dir(setting: Setting, order: Order) -> str:
    """The trial's folder; at first with the checkpoint of the trial that it goes on from."""
    folder = Path(trial_folder(setting, order.id))
    before = Path(trial_folder(setting, order.goes_on_from)) if order.goes_on_from else None
    if before is not None and before.exists() and not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(before, unfinished)
        os.replace(unfinished, folder)
    return str(folder)


def trial_folder(setting: Setting, trial_id: str) -> str:
    """Where a trial keeps its checkpoints."""
    return os.path.join(setting.folder, "trials", trial_id)
