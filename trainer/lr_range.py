"""The learning-rate range test (Smith, arXiv:1506.01186): a rate that grows until it fails."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tf_keras

from tfx_pipeline.errors import NodeFailed, storage_errors
from trainer.input import Split, train_batches
from trainer.optimizers.config import ScheduleConfig
from trainer.step import install

if TYPE_CHECKING:
    from trainer.config import TrainConfig
    from trainer.regularize.batches import Prepare

_MEMORY = 0.9  # Of the smoothed loss.
_LEAST_STEPS = 10  # Before these the smoothed loss is one or two batches.
_DIVERGED = 4.0  # Times the lowest smoothed loss.


@dataclass(frozen=True)
class RangeTest:
    """What was found.

    Attributes:
        rates: The learning rate of each step.
        losses: The loss of its batch.
        smoothed: Those losses, averaged over the last ones.
        suggested: A tenth of the rate at which the smoothed loss was lowest: from there on steps
            are too long, and a rate has to be good for the whole training.
        lowest_at: That rate.
        diverged: Whether the loss ran away at the end, or the highest rate was reached first.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggested: float
    lowest_at: float
    diverged: bool


def range_config(train: TrainConfig) -> TrainConfig:
    """The `train` section to build and compile the model of the test with: one step a call, and
    nothing that changes the rate by itself."""
    changes = {
        "schedule": ScheduleConfig(),
        "ema": None,
        "steps_per_epoch": 1,
        "learning_rate": 1e-7,
        "keep": None,
        "early_stopping": None,
        "best_metric": "val_loss",
        "calibrate": "none",
    }
    return train.model_copy(update=changes)


def range_test(
    model: tf_keras.Model,
    train: TrainConfig,
    split: Split,
    prepare: Prepare | None,
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 200,
) -> RangeTest:
    """Trains with a rate that grows by the same factor each step, until the loss runs away.

    Args:
        model: Compiled with `range_config`. It is of no use afterwards.
        train: The `train` section.
        split: Rows to learn from.
        prepare: What is done to every training batch.
        lowest: First rate.
        highest: Last rate.
        steps: Steps between them.

    Raises:
        ConfigError: Fewer rows than one batch.
        NodeFailed: The loss is no number from the start.
    """
    install(model, train, split.layout)
    sweep = _Sweep(lowest, highest, steps)
    batches = train_batches(split, train.batch_size, train.seed, 0, prepare)
    model.fit(batches, steps_per_epoch=steps, callbacks=[sweep], verbose=0)
    if len(sweep.smoothed) < 2:
        raise NodeFailed(
            f"the loss is {sweep.last} at the lowest rate {lowest:g}",
            where="lr-range",
            hint="Look for NaN or infinity in the data, or begin with a lower rate (--from).",
        )
    # The first losses are hardly smoothed: chance alone makes one of them low.
    considered = range(min(_LEAST_STEPS, len(sweep.smoothed) - 1), len(sweep.smoothed))
    lowest_at = sweep.rates[min(considered, key=sweep.smoothed.__getitem__)]
    return RangeTest(
        sweep.rates, sweep.losses, sweep.smoothed, lowest_at / 10, lowest_at, sweep.diverged
    )


def write_csv(found: RangeTest, path: Path) -> None:
    """A line a step: learning rate, loss, smoothed loss."""
    with storage_errors(str(path)), open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "learning_rate", "loss", "smoothed_loss"])
        rows = zip(found.rates, found.losses, found.smoothed, strict=True)
        writer.writerows((step, *row) for step, row in enumerate(rows, 1))


def write_plot(found: RangeTest, path: Path) -> None:
    """The losses over the rate, with the suggested rate, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, color="0.8", label="loss of the batch")
    axes.plot(found.rates, found.smoothed, label="smoothed")
    axes.axvline(found.suggested, color="C1", linestyle="--", label=f"{found.suggested:.2g}")
    # What follows divergence would flatten the rest.
    top = max(found.smoothed[: max(2, len(found.smoothed) * 2 // 3)])
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axes.set_ylim(min(found.smoothed) * 0.9, max(top * 1.5, min(found.smoothed) * 2))
    axes.legend()
    with storage_errors(str(path)):
        FigureCanvasAgg(figure).print_png(str(path))


class _Sweep(tf_keras.callbacks.Callback):
    """Sets the rate of every step, and notes the loss of its batch."""

    def __init__(self, lowest: float, highest: float, steps: int) -> None:
        super().__init__()
        self._lowest = lowest
        self._growth = (highest / lowest) ** (1 / max(1, steps - 1))
        self._average = 0.0
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.diverged = False
        self.last = math.nan

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.model.reset_metrics()  # Keras's loss is a mean over the epoch.
        self.model.optimizer.learning_rate = self._lowest * self._growth**batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.last = loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            self.diverged = self.model.stop_training = True
            return
        step = len(self.losses) + 1
        self._average = _MEMORY * self._average + (1 - _MEMORY) * loss
        smoothed = self._average / (1 - _MEMORY**step)
        self.rates.append(self._lowest * self._growth**batch)
        self.losses.append(loss)
        self.smoothed.append(smoothed)
        if step > _LEAST_STEPS and smoothed > _DIVERGED * min(self.smoothed):
            self.diverged = self.model.stop_training = True
