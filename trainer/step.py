"""One training step where Keras's own is not enough: accumulated, attacked, mixed, traced once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf
import tf_keras

from tfx_pipeline.errors import ConfigError
from trainer.config import TrainConfig
from trainer.regularize.adversarial import RowLoss, attack, movable, objective_of
from trainer.regularize.mixup import by_row, plain

if TYPE_CHECKING:
    from transform.layout import FeatureSpec

Inputs = Mapping[str, tf.Tensor]

_KERASS = (
    "train_step", "test_step", "compute_metrics", "get_metrics_result", "make_train_function",
    "make_test_function",
)  # fmt: skip


def install(model: tf_keras.Model, train: TrainConfig, layout: Sequence[FeatureSpec]) -> None:
    """Gives a compiled model the step that the config asks for; a plain one keeps Keras's, which
    has the least overhead.

    Args:
        model: Compiled.
        train: The `train` section.
        layout: The features.

    Raises:
        ConfigError: The batch does not divide into equal parts on every replica, or there is
            nothing that an attack could move.
    """
    check_parts(train, model.distribute_strategy.num_replicas_in_sync)
    trace_once(model)
    if train.accumulate_steps == 1 and train.adversarial is None and train.mixup is None:
        return
    attacked = _attacked(model, train, layout)
    parts = train.accumulate_steps

    def train_step(data: Any) -> dict[str, tf.Tensor]:
        inputs, label = data
        if parts == 1:
            gradients = _gradients(model, attacked(inputs, label, 0), label)
        else:
            gradients = _accumulated(model, inputs, label, parts, attacked)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return model.get_metrics_result()  # type: ignore[no-any-return]

    # The layers' Python is TensorFlow's own; a user's may need to be translated.
    if all(type(layer).__module__.startswith(("tf_keras.", "trainer.")) for layer in model.layers):
        train_step = tf.autograph.experimental.do_not_convert(train_step)
    model.train_step = train_step


def trace_once(model: tf_keras.Model) -> None:
    """Gives a compiled model Keras's functions of several steps a call, whose step is traced once.

    Keras leaves the loop to AutoGraph, which traces the step a second time to find out what the
    loop's last value looks like. What a step answers is what its metrics then are, so here they are
    read behind the loop. The steps are the same, bit for bit. Left to Keras: steps of several
    replicas, under XLA, one a call, and those of a model with a step of its own.
    """
    kind = type(model)
    is_kerass = all(getattr(kind, name) is getattr(tf_keras.Model, name) for name in _KERASS)
    steps = model._steps_per_execution
    one_a_call = steps is None or int(steps.numpy()) == 1 or model.autotune_steps_per_execution
    if not is_kerass or one_a_call or model.run_eagerly or model.jit_compile:
        return
    if tf.distribute.has_strategy():
        return

    def looped(step: str, counter: str) -> Callable[[Any], dict[str, tf.Tensor]]:
        def function(iterator: Any) -> dict[str, tf.Tensor]:
            steps = model._steps_per_execution

            def turn(index: tf.Tensor) -> tf.Tensor:
                answers = getattr(model, step)(next(iterator))
                with tf.control_dependencies(tf.nest.flatten(answers)):
                    getattr(model, counter).assign_add(1)
                    return index + 1

            start = [tf.constant(0, steps.dtype)]
            tf.while_loop(lambda index: index < steps, turn, start, parallel_iterations=1)
            return model.get_metrics_result()  # type: ignore[no-any-return]

        return tf.function(function, reduce_retracing=True)  # type: ignore[no-any-return]

    def make_train_function(force: bool = False) -> Any:
        if model.train_function is None or force:
            model.train_function = looped("train_step", "_train_counter")
            model.train_tf_function = model.train_function
        return model.train_function

    def make_test_function(force: bool = False) -> Any:
        if model.test_function is None or force:
            model.test_function = looped("test_step", "_test_counter")
        return model.test_function

    model.make_train_function = make_train_function
    model.make_test_function = make_test_function


def check_parts(train: TrainConfig, replicas: int) -> None:
    """Refuses a global batch that does not divide into `accumulate_steps` parts on each replica.

    Raises:
        ConfigError: So it is.
    """
    parts = train.accumulate_steps
    if parts > 1 and train.batch_size % (parts * replicas):
        raise ConfigError(
            f"train.batch_size {train.batch_size} does not divide into {parts} equal parts on "
            f"each of {replicas} replicas",
            where="train.accumulate_steps",
            hint=f"Make it a multiple of {parts * replicas}.",
        )


def row_loss(model: tf_keras.Model) -> RowLoss:
    """The loss of each row that a model was compiled with, without its penalties."""
    return by_row(model.loss)


def _gradients(model: tf_keras.Model, inputs: Inputs, label: tf.Tensor) -> list[Any]:
    """The gradient of the mean loss of these rows, with the penalties, by variable."""
    optimizer = model.optimizer
    is_scaled = isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer)
    with tf.GradientTape() as tape:
        predictions = model(inputs, training=True)
        loss = model.compute_loss(inputs, label, predictions)
        scaled = optimizer.get_scaled_loss(loss) if is_scaled else loss
    gradients = tape.gradient(scaled, model.trainable_variables)
    model.compiled_metrics.update_state(plain(label, model.loss), predictions)
    return optimizer.get_unscaled_gradients(gradients) if is_scaled else gradients


def _accumulated(
    model: tf_keras.Model,
    inputs: Inputs,
    label: tf.Tensor,
    parts: int,
    attacked: Callable[[Inputs, tf.Tensor, Any], Inputs],
) -> list[tf.Tensor]:
    """The mean of the gradients of `parts` equal parts: that of all rows' mean loss.

    A loop of the graph, one turn after the other: unrolled, the executor would work the parts off
    at once and need the memory of all. Where several replicas may have to talk to each other
    within a part (batch normalization over all of them), which TensorFlow cannot do in a loop, it
    is unrolled, and each part waits for the one before.
    """
    variables = model.trainable_variables

    def part(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        size = tf.shape(values)[0] // parts
        return values[index * size : (index + 1) * size]

    def turn(index: tf.Tensor, sums: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        rows = {name: part(values, index) for name, values in inputs.items()}
        truth = part(label, index)
        gradients = _gradients(model, attacked(rows, truth, index), truth)
        return index + 1, [
            total if gradient is None else total + tf.convert_to_tensor(gradient)
            for total, gradient in zip(sums, gradients, strict=True)
        ]

    zeros = [tf.zeros(v.shape, getattr(v, "true_dtype", v.dtype)) for v in variables]
    start = (tf.constant(0), zeros)
    if model.distribute_strategy.num_replicas_in_sync > 1:
        done = start
        for _ in range(parts):
            with tf.control_dependencies(done[1]):
                done = turn(*done)
    else:
        done = tf.while_loop(lambda index, _: index < parts, turn, start, parallel_iterations=1)
    return [total / parts for total in done[1]]


def _attacked(
    model: tf_keras.Model, train: TrainConfig, layout: Sequence[FeatureSpec]
) -> Callable[[Inputs, tf.Tensor, Any], Inputs]:
    """Moves the first `share` of rows (they come in random order); leaves the others."""
    config = train.adversarial
    if config is None:
        return lambda inputs, label, index: inputs
    moved = movable(layout, model.input_names, config)
    raised = objective_of(model, row_loss(model))

    def attacked(inputs: Inputs, label: tf.Tensor, index: Any) -> Inputs:
        rows = tf.cast(tf.shape(label)[0], tf.float32)
        count = tf.cast(tf.math.ceil(config.share * rows), tf.int32)
        # Of seed and step, so that a resumed run attacks as an undisturbed one.
        step = model.optimizer.iterations * train.accumulate_steps + tf.cast(index, tf.int64)
        replica = tf.distribute.get_replica_context()
        place = 0 if replica is None else replica.replica_id_in_sync_group
        seed = tf.stack([tf.constant(train.seed, tf.int64), step])
        seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(place, tf.int64))
        first = {name: values[:count] for name, values in inputs.items()}
        worst = attack(first, label[:count], raised, config, moved, seed)
        return {
            name: tf.concat([worst[name], values[count:]], axis=0) if name in moved else values
            for name, values in inputs.items()
        }

    return attacked
