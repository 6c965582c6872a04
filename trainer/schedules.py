"""Learning-rate schedules: the rate of a step, as a function of the step alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf
import tf_keras

from trainer.optimizers.config import ScheduleConfig

if TYPE_CHECKING:
    from trainer.config import TrainConfig

_ONE_CYCLE_RISE = 0.3  # Share of all steps in which the rate rises.


@tf_keras.saving.register_keras_serializable("assay")
class Rate(tf_keras.optimizers.schedules.LearningRateSchedule):
    """A schedule for a Keras optimizer.

    It follows from the optimizer's count of steps, which a checkpoint holds, so a resumed run goes
    on at the rate it had. `scale` is what `plateau` has cut the rate to, and 1 for the others.

    Args:
        peak: The rate that the schedule's shares are of.
        schedule: The fields of a `ScheduleConfig`.
        total_steps: Optimizer steps in all.
    """

    def __init__(self, peak: float, schedule: Mapping[str, Any], total_steps: int) -> None:
        super().__init__()
        self.peak = peak
        self.schedule = ScheduleConfig.model_validate(schedule)
        self.total_steps = total_steps
        self.scale: tf.Variable | None = None
        if self.schedule.name == "plateau":
            self.scale = tf.Variable(1.0, trainable=False, name="rate_scale")

    @classmethod
    def of(cls, train: TrainConfig) -> Rate:
        """The schedule that the `train` section describes."""
        return cls(train.learning_rate, train.schedule.model_dump(), train.steps)

    def __call__(self, step: Any) -> tf.Tensor:
        """The rate of the step, which counts from 0; float32."""
        share = share_of_peak(tf.cast(step, tf.float32), self.schedule, self.total_steps)
        rate = self.peak * share
        return rate if self.scale is None else rate * self.scale

    def get_config(self) -> dict[str, Any]:
        """What a new one is made from."""
        return {
            "peak": self.peak,
            "schedule": self.schedule.model_dump(),
            "total_steps": self.total_steps,
        }


def share_of_peak(step: tf.Tensor, schedule: ScheduleConfig, total_steps: int) -> tf.Tensor:
    """The learning rate as a share of its peak.

    While it warms up it is `(step + 1) / warmup_steps`: the first step is not lost, the last is at
    the peak. After that, with t the steps since, T those of the decay and
    c = (1 + cos(pi t / T)) / 2:

    - step: `factor ** floor(t / every_steps)`; exponential: `factor ** (t / every_steps)`
    - cosine: `end + (1 - end) c` (Loshchilov & Hutter, arXiv:1608.03983), then `end`
    - cosine_restarts: the same in cycles, each `cycle_growth` times longer and `cycle_peak` times
      as high as the one before
    - polynomial: `end + (1 - end) (1 - t / T) ** power`, then `end`
    - one_cycle: up from `start` and down to `end`, both along a cosine (Smith, arXiv:1708.07120)

    Args:
        step: float32, from 0.
        schedule: The `train.schedule` section.
        total_steps: Optimizer steps in all.

    Returns:
        float32, of the step's shape.
    """
    if schedule.name == "one_cycle":
        return _one_cycle(step, schedule, total_steps)
    warmup = schedule.warmup_steps
    left = max(1, total_steps - warmup)
    after = _after_warmup(tf.maximum(step - warmup, 0.0), schedule, left)
    if not warmup:
        return after
    return tf.where(step < warmup, (step + 1.0) / warmup, after)


def _after_warmup(t: tf.Tensor, schedule: ScheduleConfig, left: int) -> tf.Tensor:
    end = schedule.end or 0.0
    match schedule.name:
        case "step" | "exponential":
            cuts = t / float(schedule.every_steps or math.ceil(left / 3))
            if schedule.name == "step":
                cuts = tf.floor(cuts)
            return tf.pow(_or(schedule.factor, 0.1), cuts)
        case "cosine":
            return end + (1.0 - end) * _falling(t / float(schedule.decay_steps or left))
        case "cosine_restarts":
            return _restarts(t, schedule, left)
        case "polynomial":
            left_over = 1.0 - tf.minimum(t / float(schedule.decay_steps or left), 1.0)
            return end + (1.0 - end) * tf.pow(left_over, _or(schedule.power, 1.0))
        case _:
            return tf.ones_like(t)


def _restarts(t: tf.Tensor, schedule: ScheduleConfig, left: int) -> tf.Tensor:
    growth, peak = _or(schedule.cycle_growth, 2.0), _or(schedule.cycle_peak, 1.0)
    end = schedule.end or 0.0
    # Three cycles that fill all steps are 1 + growth + growth ** 2 of the first.
    first = schedule.first_cycle_steps or max(1, math.ceil(left / (1 + growth + growth**2)))
    # A table of the cycles' first steps: the logarithm in the closed form misses them by rounding.
    starts = [0.0]
    length = float(first)
    while starts[-1] + length < left and len(starts) < 10_000:
        starts.append(starts[-1] + length)
        length *= growth
    cycle = tf.searchsorted(tf.constant(starts), tf.reshape(t, [-1]), side="right") - 1
    cycle = tf.reshape(cycle, tf.shape(t))
    of_cycle = tf.cast(cycle, tf.float32)
    done = (t - tf.gather(tf.constant(starts), cycle)) / (first * tf.pow(growth, of_cycle))
    return tf.pow(peak, of_cycle) * (end + (1.0 - end) * _falling(done))


def _one_cycle(step: tf.Tensor, schedule: ScheduleConfig, total_steps: int) -> tf.Tensor:
    start, end = _or(schedule.start, 0.04), _or(schedule.end, 1e-4)
    rise = float(schedule.warmup_steps or max(1, round(_ONE_CYCLE_RISE * total_steps)))
    rising = 1.0 + (start - 1.0) * _falling(step / rise)
    falling = end + (1.0 - end) * _falling((step - rise) / max(1.0, total_steps - rise))
    return tf.where(step < rise, rising, falling)


def _falling(done: tf.Tensor) -> tf.Tensor:
    """Half a cosine from 1 at 0 to 0 at 1, and 0 from there on."""
    return (1.0 + tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0))) / 2.0


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
