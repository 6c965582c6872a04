"""Mixed precision while a model is trained; float32 in what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tf_keras

    from trainer.config import TrainConfig

_MIXED = ("mixed_bfloat16", "mixed_float16")


@contextmanager
def policy(train: TrainConfig) -> Iterator[None]:
    """Layers made within compute in `train.precision`; their weights are float32."""
    import tf_keras

    before = tf_keras.mixed_precision.global_policy()
    if before.name == train.precision:
        yield
        return
    tf_keras.mixed_precision.set_global_policy(train.precision)
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)


def answering_float32(model: tf_keras.Model) -> tf_keras.Model:
    """The same model with a float32 output: a probability of 8 bits is no basis for a loss."""
    import tf_keras

    if model.output.dtype == "float32":
        return model
    last = model.layers[-1]
    config = last.get_config() | {"dtype": "float32"}
    if model.output is last.output and not isinstance(last, tf_keras.Model):
        layer = type(last).from_config(config)
        answer = layer(last.input)
        layer.set_weights(last.get_weights())  # A user's builder may have set them.
    else:
        answer = tf_keras.layers.Activation("linear", dtype="float32", name="answer")(model.output)
    return tf_keras.Model(model.input, answer, name=model.name)


def as_float32(model: tf_keras.Model) -> tf_keras.Model:
    """A trained model as one that computes in float32, with the same weights; one that does so is
    given back itself.

    Serving on a CPU, TFLite and TF-MOT want float32, and a layer's policy is a part of what is
    saved of it.
    """
    import tf_keras

    config = model.get_config()
    plain = _without_policies(config)
    if plain == config:
        return model
    made = type(model).from_config(plain)
    made.set_weights(model.get_weights())
    assert isinstance(made, tf_keras.Model)
    return made


def _without_policies(value: Any) -> Any:
    """A model's config with float32 in place of every mixed policy."""
    if isinstance(value, dict):
        if value.get("class_name") == "Policy":
            return "float32"
        return {key: _without_policies(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_without_policies(inner) for inner in value)
    return "float32" if isinstance(value, str) and value in _MIXED else value
