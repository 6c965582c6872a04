"""Fine-tuning trains a clone, repeatably, and says why where it cannot."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import ConfigError, NodeFailed
from trainer.compression.context import Context
from trainer.compression.finetune import clone, finetune
from trainer.input import Held, Split


def _with_split(context: Context, **changes: Any) -> Context:
    split = dataclasses.replace(context.train_split, **changes)
    return dataclasses.replace(context, train_split=split)


def _held(split: Split) -> Held:
    assert split.held is not None
    return split.held


def test_the_same_seed_gives_the_same_weights_and_leaves_the_parent(
    parent: Any, context: Context
) -> None:
    before = parent.get_weights()
    made = []
    for seed in (1, 1, 2):
        model = clone(parent, context)
        seeded = dataclasses.replace(context, seed=seed)
        finetune(model, seeded, steps=7, learning_rate=1e-2)
        made.append(model.get_weights())
        assert int(model.optimizer.iterations) == 7
    for one, two, other, old, now in zip(*made, before, parent.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
        assert (one != other).any()
        assert (one != old).any()
        np.testing.assert_array_equal(now, old)


def test_a_loss_replaces_that_of_the_label(parent: Any, context: Context) -> None:
    import tensorflow as tf

    model = clone(parent, context)

    def to_zero(label: Any, prediction: Any) -> Any:
        return tf.reduce_mean(tf.square(prediction) + 0 * tf.cast(label, tf.float32), axis=-1)

    finetune(model, context, steps=100, learning_rate=1e-2, loss=to_zero)
    assert np.asarray(model(context.rows)).max() < 0.2 < np.asarray(parent(context.rows)).max()


def test_a_frozen_layer_stays_frozen(parent: Any, context: Context) -> None:
    model = clone(parent, context)
    model.get_layer("hidden_0").trainable = False
    model = clone(model, context)
    finetune(model, context, steps=3, learning_rate=1e-2)
    kernels = [m.get_layer("hidden_0").get_weights()[0] for m in (model, parent)]
    np.testing.assert_array_equal(*kernels)


def test_no_steps_change_nothing(parent: Any, context: Context) -> None:
    model = clone(parent, context)
    finetune(model, context, steps=0, learning_rate=1.0)
    for one, two in zip(model.get_weights(), parent.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_nan_in_the_rows_is_named(parent: Any, context: Context) -> None:
    held = _held(context.train_split)
    poisoned = held.features["n2_xf"].copy()
    poisoned[5] = np.nan
    features = dict(held.features) | {"n2_xf": poisoned}
    broken = _with_split(context, held=Held(features, held.label))
    with pytest.raises(NodeFailed, match="in fine-tuning") as caught:
        finetune(clone(parent, context), broken, steps=25, learning_rate=1e-3)
    assert "n2_xf in 1 of 2000 rows" in caught.value.hint


def test_a_rate_that_is_too_high_is_named(parent: Any, context: Context) -> None:
    with pytest.raises(NodeFailed, match=r"NaN|nan|inf") as caught:
        finetune(clone(parent, context), context, steps=5, learning_rate=1e38)
    assert "learning_rate (now 1e+38)" in caught.value.hint


def test_fewer_rows_than_a_batch(parent: Any, context: Context) -> None:
    held = _held(context.train_split)
    features = {name: values[:50] for name, values in held.features.items()}
    few = _with_split(context, rows=50, held=Held(features, held.label[:50]))
    with pytest.raises(ConfigError, match="only 50 rows"):
        finetune(clone(parent, context), few, steps=1, learning_rate=1e-3)


def test_keras_3_is_told_apart(context: Context) -> None:
    import keras

    inputs = keras.Input((4,))
    with pytest.raises(NodeFailed, match="tf_keras models only") as caught:
        clone(keras.Model(inputs, keras.layers.Dense(1)(inputs)), context)
    assert "keras3" in caught.value.hint


def test_a_subclassed_model_is_refused(context: Context) -> None:
    import tf_keras

    class Own(tf_keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(NodeFailed, match="subclassed or not built") as caught:
        clone(Own(), context)
    assert "tf_keras.Model(inputs, output)" in caught.value.hint
