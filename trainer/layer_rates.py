"""Discriminative learning rates: a pretrained layer learns the slower, the lower it is.

Jeremy Howard and Sebastian Ruder, "Universal Language Model Fine-tuning for Text Classification",
2018 (https://arxiv.org/abs/1801.06146), section 3.2. The update of a variable is scaled, not its
gradient, because Adam and its kin divide a gradient's scale away again. For every optimizer that
makes an update in proportion to its learning rate (SGD with momentum, Adam, Lion, RMSprop, ...) the
variable thus has a learning rate of its own. Decoupled weight decay is not scaled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

_MARK = "assay_rate"


def mark(levels: Sequence[Sequence[tf_keras.layers.Layer]], decay: float) -> None:
    """Notes in layers which share of the learning rate they have.

    Args:
        levels: Layers from the lowest level to the highest, which has `decay`; the one below it
            `decay ** 2`, and so on. What stands on them is not named, and has 1.
        decay: Share of the level above; 1 marks nothing.
    """
    if decay == 1:
        return
    for depth, layers in enumerate(reversed(levels), 1):
        for layer in layers:
            setattr(layer, _MARK, decay**depth)


def rates(model: tf_keras.Model) -> dict[str, float]:
    """The shares that `mark` noted, by layer."""
    return {layer.name: rate for layer, rate in _marked(model)}


def apply(model: tf_keras.Model) -> None:
    """Scales the updates of a compiled model's marked layers, from now on.

    Nothing of it needs a checkpoint: a resumed run builds the model, and marks it, again.

    Args:
        model: Its optimizer is one of `tf_keras.optimizers`.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    shares = {
        optimizer._var_key(variable): rate
        for layer, rate in _marked(model)
        for variable in layer.trainable_variables
    }
    if not shares:
        return
    full_step = optimizer.update_step

    def update_step(gradient: tf.Tensor, variable: tf.Variable) -> None:
        import tensorflow as tf

        share = shares.get(optimizer._var_key(variable))
        before = None if share is None else tf.identity(variable)
        full_step(gradient, variable)
        if before is not None:
            variable.assign(before + share * (variable - before))

    optimizer.update_step = update_step


def _marked(model: tf_keras.Model) -> Iterator[tuple[tf_keras.layers.Layer, Any]]:
    # Marked layers stand in the model, or in one inside it.
    for layer in model.layers:
        if (rate := getattr(layer, _MARK, None)) is not None:
            yield layer, rate
        elif hasattr(layer, "layers"):
            yield from _marked(layer)
