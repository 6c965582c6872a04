"""Distillation: a smaller network learns what the trained one answers.

Geoffrey Hinton, Oriol Vinyals and Jeff Dean, "Distilling the Knowledge in a Neural Network", 2015
(https://arxiv.org/abs/1503.02531).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tensorflow as tf
import tf_keras

from tfx_pipeline.errors import ConfigError
from trainer.adapters import without_lora
from trainer.compression.candidate import Compressed
from trainer.compression.config import DistillConfig
from trainer.compression.context import Context
from trainer.compression.finetune import finetune
from trainer.losses import pinball
from trainer.models.build import build
from transform.config import LabelConfig

if TYPE_CHECKING:
    from trainer.config import ModelConfig

_SMALLEST_PROBABILITY = 1e-7  # As Keras clips them in its losses.


def distill(parent: tf_keras.Model, config: DistillConfig, context: Context) -> Compressed:
    """Trains a student: the network of the `model` section with other `hidden_units`; of a family
    that they do not shape, a `dnn` of those.

    Args:
        parent: The teacher, from model inputs to float32 [N, outputs]: probabilities, or values in
            the label's unit. It is not changed.
        config: The student's size, and how it is taught.
        context: The `model` section, rows, label, strategy and seed.

    Returns:
        The student, with the teacher's kind of output.

    Raises:
        ConfigError: The student would not be smaller than its teacher, or the model is of the
            user's builder and does not follow `hidden_units`.
        NodeFailed: The loss or a weight became NaN or infinite.
    """
    hidden_units = _hidden_units(config, context)
    # The exported teacher has what LoRA learned in its kernels, and so will the student.
    model = _student(without_lora(context.model) or context.model, hidden_units)
    label = context.transform.label
    tf_keras.utils.set_random_seed(context.seed)
    with context.strategy.scope():
        student = build(
            context.layout,
            model,
            context.train,
            label,
            context.scale,
            context.folder,
            context.rows,
        )
        _check_size(student, parent, hidden_units, context)
        taught = _beside(student, parent)
    finetune(
        taught,
        context,
        steps=config.steps,
        learning_rate=config.learning_rate,
        loss=distillation_loss(config, label),
    )
    size = f"{student.count_params():,} of {parent.count_params():,} parameters"
    return Compressed(student, notes=(f"hidden_units {hidden_units}: {size}",))


def distillation_loss(
    config: DistillConfig, label: LabelConfig
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The loss of a student, for each row.

    `alpha` times the loss of the true label, and the rest of: for soft targets, the KL divergence
    from the teacher's probabilities to the student's, both softened by the temperature T, times T²
    (so that its gradients stay as large as those of the labels; section 2 of the paper); for hard
    targets, the cross entropy with the class that the teacher chooses. Of a multilabel it is the
    mean over the classes, each a binary label of its own. For a regression, either way, the squared
    difference to the teacher's value, and for quantiles the mean absolute one.

    Returns:
        A function of the label [N, width] and of the student's outputs beside the teacher's,
        [N, 2 * outputs], to float32 [N].
    """

    def loss(truth: tf.Tensor, answers: tf.Tensor) -> tf.Tensor:
        student, teacher = tf.split(answers, 2, axis=1)
        if label.task == "regression":
            of_truth = tf.square(student[:, 0] - tf.cast(truth, tf.float32)[:, 0])
            of_teacher = tf.square(student[:, 0] - teacher[:, 0])
        elif label.task == "quantile":
            of_truth = pinball(label.quantiles)(truth, student)
            of_teacher = tf.reduce_mean(tf.abs(student - teacher), axis=1)
        elif label.task == "multilabel":
            return _of_each_class(truth, student, teacher, config)
        else:
            student, teacher = _log_probabilities(student), _log_probabilities(teacher)
            of_truth = _cross_entropy(student, tf.cast(truth, tf.int64)[:, 0])
            if config.targets == "hard":
                of_teacher = _cross_entropy(student, tf.argmax(teacher, axis=1))
            else:
                of_teacher = _softened_divergence(teacher, student, config.temperature)
        return config.alpha * of_truth + (1.0 - config.alpha) * of_teacher

    return loss


def _of_each_class(
    truth: tf.Tensor, student: tf.Tensor, teacher: tf.Tensor, config: DistillConfig
) -> tf.Tensor:
    """The loss of a multilabel [N]: the mean of its classes' losses, as of binary labels."""
    classes = student.shape[1]
    of_binary = distillation_loss(config, LabelConfig(column="class", classes=["0", "1"]))
    answers = tf.stack([tf.reshape(student, [-1]), tf.reshape(teacher, [-1])], axis=1)
    losses = of_binary(tf.reshape(truth, [-1, 1]), answers)
    return tf.reduce_mean(tf.reshape(losses, [-1, classes]), axis=1)


def _beside(student: tf_keras.Model, teacher: tf_keras.Model) -> tf_keras.Model:
    """A model of the inputs of both (a user's builder may read fewer features for a smaller model)
    to the student's outputs beside the teacher's."""
    inputs = dict(zip(student.input_names, student.inputs, strict=True))
    for name, tensor in zip(teacher.input_names, teacher.inputs, strict=True):
        if name not in inputs:
            inputs[name] = tf_keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)
    answers = _Answers(teacher)({name: inputs[name] for name in teacher.input_names})
    return tf_keras.Model(inputs, tf_keras.layers.Concatenate()([student.output, answers]))


class _Answers(tf_keras.layers.Layer):
    """The teacher as a layer without weights: its own are not the student's to train."""

    def __init__(self, teacher: tf_keras.Model) -> None:
        super().__init__(name="teacher")
        # In a function, because Keras would count an attribute's variables as this layer's.
        self._answer = lambda inputs: teacher(inputs, training=False)

    def call(self, inputs: Any) -> tf.Tensor:
        return tf.stop_gradient(self._answer(inputs))


def _log_probabilities(outputs: tf.Tensor) -> tf.Tensor:
    """Log-probabilities of all classes, [N, C], also for the one output of a binary model. They
    are logits, too: a softmax of them gives the probabilities back."""
    if outputs.shape[1] == 1:
        outputs = tf.concat([1.0 - outputs, outputs], axis=1)
    return tf.math.log(tf.clip_by_value(outputs, _SMALLEST_PROBABILITY, 1.0))


def _cross_entropy(log_probabilities: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    return -tf.gather(log_probabilities, classes, axis=1, batch_dims=1)


def _softened_divergence(teacher: tf.Tensor, student: tf.Tensor, temperature: float) -> tf.Tensor:
    log_teacher = tf.nn.log_softmax(teacher / temperature)
    log_student = tf.nn.log_softmax(student / temperature)
    divergence = tf.reduce_sum(tf.exp(log_teacher) * (log_teacher - log_student), axis=1)
    return temperature**2 * divergence


def _hidden_units(config: DistillConfig, context: Context) -> list[int]:
    """The student's layers: as configured, or a quarter of the teacher's."""
    if config.hidden_units:
        return config.hidden_units
    if context.model.builder is not None:
        raise ConfigError(
            f"the size of a student of model.builder {context.model.builder} is not known",
            where="compress.candidates: distill",
            hint="Give hidden_units, and build the layers that config.model.hidden_units names in "
            "your builder: that is what makes the student smaller.",
        )
    return [max(1, units // 4) for units in context.model.hidden_units]


def _student(teacher: ModelConfig, hidden_units: list[int]) -> ModelConfig:
    update: dict[str, Any] = {"hidden_units": hidden_units}
    if teacher.builder is None and not teacher.hidden_units_shape_it:
        update |= {"family": "dnn", "residual": None, "attention": None, "dcn": None}
    return teacher.model_copy(update=update)


def _check_size(
    student: tf_keras.Model, teacher: tf_keras.Model, hidden_units: list[int], context: Context
) -> None:
    if student.count_params() < teacher.count_params():
        return
    hint = f"Give smaller hidden_units than {hidden_units}."
    if context.model.builder is not None:
        hint += f" {context.model.builder} must build what config.model.hidden_units says."
    raise ConfigError(
        f"the student has {student.count_params():,} parameters and its teacher "
        f"{teacher.count_params():,}: a student must be smaller",
        where="compress.candidates: distill",
        hint=hint,
    )
