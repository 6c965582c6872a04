"""Exponential moving averages of the weights: kept in the optimizer, shown when it counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
import tf_keras


class Averaging:
    """In front of a `tf_keras.optimizers.Optimizer`: what Keras does otherwise than we need.

    The average forgets faster at first (it keeps `min(ema, (1 + n) / (10 + n))` at step n, as in
    TensorFlow's ExponentialMovingAverage): with `ema: 0.999` the random initial weights would
    still be 37 % of it after 1,000 steps. Keras would also overwrite the weights with their
    average at the end of every `fit`, from where a resumed run could not go on. And the gradient
    of an embedding is clipped by the sum of its rows, not by each time that a row occurs.
    """

    def _clip_gradients(self: Any, grads: Sequence[Any]) -> Any:
        whole = self._deduplicate_sparse_grad(grads)
        return super()._clip_gradients(whole)  # type: ignore[misc]

    def _update_model_variables_moving_average(self: Any, var_list: Sequence[Any]) -> None:
        if not self.use_ema:
            return
        n = tf.cast(self.iterations + 1, tf.float32)
        kept = tf.minimum(self.ema_momentum, (1 + n) / (10 + n))

        def update(average: Any, variable: Any, share: Any) -> None:
            average.assign(share * average + (1 - share) * variable)

        for variable in var_list:
            self._distribution_strategy.extended.update(
                self._model_variables_moving_average[self._index_dict[self._var_key(variable)]],
                update,
                args=(variable, kept),
                group=False,
            )

    def finalize_variable_values(self: Any, var_list: Sequence[Any]) -> None:
        """Leaves the weights as they are."""


class Averages:
    """The averaged weights of a compiled model, to be changed places with its own.

    Args:
        model: Its optimizer keeps averages, and is built.
    """

    def __init__(self, model: tf_keras.Model) -> None:
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        # Looked up, because layers may be frozen for a while.
        places = optimizer._index_dict
        averages = optimizer._model_variables_moving_average
        self._pairs = [
            (variable, averages[places[key]])
            for variable in model.variables
            if (key := optimizer._var_key(variable)) in places
        ]

    def swap(self) -> None:
        """Puts the averages into the model and its weights in their place, or back again."""
        for variable, average in self._pairs:
            value = tf.identity(variable.read_value())
            variable.assign(average.read_value())
            average.assign(value)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The model answers with its averaged weights within."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def keep(self) -> None:
        """Leaves the averages in the model for good: training has ended."""
        for variable, average in self._pairs:
            variable.assign(average.read_value())


class ShowAverages(tf_keras.callbacks.Callback):
    """Validates with the averaged weights."""

    def __init__(self, averages: Averages) -> None:
        super().__init__()
        self._averages = averages

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._averages.swap()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self._averages.swap()
