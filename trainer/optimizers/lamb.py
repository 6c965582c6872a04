"""LAMB (You et al., arXiv:1904.00962, algorithm 2): Adam's step, scaled layer by layer."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras


@tf_keras.saving.register_keras_serializable("assay")
class Lamb(tf_keras.optimizers.Optimizer):
    """For large batches: every variable moves by a length in proportion to its own norm.

    `x -= learning_rate * |x| / |u| * u` with `u = m / (sqrt(v) + epsilon) + decay * x`, where m and
    v are Adam's bias-corrected moments. Variables excluded from weight decay (biases,
    normalization) take Adam's plain step, as in the authors' own code.

    Args:
        learning_rate: Number or schedule.
        beta_1: Memory of the first moment.
        beta_2: Memory of the second moment.
        epsilon: Added to the root of the second moment.
        decay: Weight decay; a part of `u`, not decoupled from it.
        name: Of the optimizer.
        **kwargs: Of `tf_keras.optimizers.Optimizer`.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        decay: float = 0.01,
        name: str = "Lamb",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **{**kwargs, "weight_decay": None})
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.decay = decay

    def build(self, var_list: Any) -> None:
        """Makes the moments of each variable."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._built = True
        self._momentums = [self.add_variable_from_reference(v, "m") for v in var_list]
        self._velocities = [self.add_variable_from_reference(v, "v") for v in var_list]

    def update_step(self, gradient: Any, variable: Any) -> None:
        """One step of one variable."""
        rate = tf.cast(self.learning_rate, variable.dtype)
        step = tf.cast(self.iterations + 1, variable.dtype)
        beta_1, beta_2 = (tf.cast(beta, variable.dtype) for beta in (self.beta_1, self.beta_2))
        index = self._index_dict[self._var_key(variable)]
        m, v = self._momentums[index], self._velocities[index]
        gradient = tf.convert_to_tensor(gradient)  # The norm is the whole variable's.
        m.assign(beta_1 * m + (1 - beta_1) * gradient)
        v.assign(beta_2 * v + (1 - beta_2) * tf.square(gradient))
        unbiased = m / (1 - tf.pow(beta_1, step))
        update = unbiased / (tf.sqrt(v / (1 - tf.pow(beta_2, step))) + self.epsilon)
        if not self._use_weight_decay(variable):
            variable.assign_sub(rate * update)
            return
        update += self.decay * variable
        length, of_update = tf.norm(variable), tf.norm(update)
        # A variable of zeros would never leave them.
        is_scaled = tf.logical_and(length > 0, of_update > 0)
        ratio = tf.where(is_scaled, tf.math.divide_no_nan(length, of_update), tf.ones_like(length))
        variable.assign_sub(rate * ratio * update)

    def get_config(self) -> dict[str, Any]:
        """What a new one is made from."""
        config = super().get_config()
        del config["weight_decay"]
        return {
            **config,
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "decay": self.decay,
        }
