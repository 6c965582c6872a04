"""Attacks on a model: rows moved, within a bound, to where its loss is worst.

FGSM: Goodfellow et al., arXiv:1412.6572. PGD: Madry et al., arXiv:1706.06083.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf
import tf_keras

from tfx_pipeline.errors import ConfigError
from trainer.regularize.config import AdversarialConfig
from transform.layout import FeatureSpec

# Labels and predictions to the loss of each row [N].
RowLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# From inputs and labels to the loss of each row [N], or its mean: only the gradient's sign counts.
Objective = Callable[[Mapping[str, tf.Tensor], tf.Tensor], tf.Tensor]


def movable(
    layout: Sequence[FeatureSpec], input_names: Sequence[str], config: AdversarialConfig
) -> dict[str, bool]:
    """The model inputs that are moved, and whether each stays within 0 and 1 (images).

    Args:
        layout: The features.
        input_names: Of the model.
        config: The `train.adversarial` section.

    Raises:
        ConfigError: `features` names one that is no number, or there is nothing to move.
    """
    numbers = {s.name: s for s in layout if s.kind in ("dense", "image", "series")}
    numbers = {name: spec for name, spec in numbers.items() if name in input_names}
    for name in config.features or ():
        if name not in numbers:
            close = difflib.get_close_matches(name, numbers, n=1)
            raise ConfigError(
                f"train.adversarial.features names {name!r}, which is no feature of numbers",
                where="train.adversarial.features",
                hint=f"Did you mean {close[0]!r}?"
                if close
                else f"There are {', '.join(sorted(numbers)) or 'none'}.",
            )
    chosen = config.features or [name for name, spec in numbers.items() if _is_free(spec)]
    if not chosen:
        raise ConfigError(
            "train.adversarial moves numbers, and the model has no feature of numbers",
            where="train.adversarial",
            hint="Drop it, or name features in train.adversarial.features.",
        )
    return {name: numbers[name].kind == "image" for name in chosen}


def objective_of(model: tf_keras.Model, loss: RowLoss) -> Objective:
    """What an attack raises: the loss of the model's answers, as it answers when serving."""
    return lambda inputs, label: loss(label, model(dict(inputs), training=False))


def _is_free(spec: FeatureSpec) -> bool:
    """Whether its values may be any number: not so one-hot numbers, and marks of missing ones."""
    if spec.kind != "dense":
        return True
    return spec.shape == (1,) and not spec.name.endswith("_missing_xf")


def attack(
    inputs: Mapping[str, tf.Tensor],
    label: tf.Tensor,
    objective: Objective,
    config: AdversarialConfig,
    moved: Mapping[str, bool],
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """The inputs, each moved by at most `config.epsilon` to raise the objective.

    Args:
        inputs: Model inputs [N, ...] by name.
        label: [N, ...].
        objective: What the attack raises.
        config: The attack.
        moved: From `movable`.
        seed: int64 [2]; pgd starts from a random point within the bound.
    """
    epsilon = config.epsilon
    steps, stride = (1, epsilon) if config.attack == "fgsm" else (config.steps, 0.0)
    stride = stride or 2.5 * epsilon / steps
    clean = {name: inputs[name] for name in moved}
    start = dict(clean)
    if config.attack == "pgd":
        for index, (name, values) in enumerate(clean.items()):
            own = tf.random.experimental.stateless_fold_in(seed, index)
            shift = tf.random.stateless_uniform(tf.shape(values), own, -epsilon, epsilon)
            start[name] = _within(values + shift, values, epsilon, moved[name])

    def step(index: tf.Tensor, at: dict[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(at.values()))
            # The sum: only the slope's sign counts, and a mean's may vanish in float16.
            worst = tf.reduce_sum(objective({**inputs, **at}, label))
        slopes = dict(zip(at, tape.gradient(worst, list(at.values())), strict=True))
        there = {
            name: values
            if slopes[name] is None  # A user's model need not use every input.
            else _within(values + stride * tf.sign(slopes[name]), clean[name], epsilon, moved[name])
            for name, values in at.items()
        }
        return index + 1, there

    if steps == 1:
        there = step(tf.constant(0), start)[1]
    else:
        _, there = tf.while_loop(
            lambda index, _: index < steps, step, (tf.constant(0), start), parallel_iterations=1
        )
    return {**inputs, **{name: tf.stop_gradient(values) for name, values in there.items()}}


def _within(values: tf.Tensor, clean: tf.Tensor, epsilon: float, is_image: bool) -> tf.Tensor:
    bounded = tf.clip_by_value(values, clean - epsilon, clean + epsilon)
    return tf.clip_by_value(bounded, 0.0, 1.0) if is_image else bounded
