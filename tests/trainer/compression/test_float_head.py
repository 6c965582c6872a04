"""An int8 core with its last activation in float has finer answers, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from trainer.compression.config import QatConfig
from trainer.compression.context import Context
from trainer.compression.float_head import float_head
from trainer.compression.quantize_aware import qat
from trainer.compression.quiet import quiet


def converted(model: Any) -> bytes:
    import tensorflow as tf

    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return bytes(converter.convert())


def answers(core: bytes, rows: dict[str, np.ndarray]) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=core).get_signature_runner()
    return np.array(next(iter(runner(**rows).values())))


def test_a_sigmoid(parent: Any, context: Context, auc: Callable[[Any], float]) -> None:
    assert context.val_split is not None
    held = context.val_split.held
    assert held is not None
    rows = dict(held.features)
    model = qat(parent, QatConfig(steps=60), context).model
    core = converted(model)
    before, after = answers(core, rows), answers(float_head(core), rows)
    assert np.unique(before).size < 100 < np.unique(after).size
    # Rounded as TFLite rounds them, they are the same.
    np.testing.assert_array_equal(np.clip(np.rint(after * 256), 0, 255) / 256, before)
    assert roc_auc_score(held.label, after) == pytest.approx(auc(model), abs=2e-4)
    assert float_head(float_head(core)) == float_head(core)


def test_a_softmax(context: Context) -> None:
    import tf_keras

    layers = tf_keras.layers
    x = tf_keras.Input((1,), name="n0_xf")
    y = layers.Dense(5, name="logits")(layers.Dense(32, "relu")(x))
    model = tf_keras.Model({"n0_xf": x}, layers.Activation("softmax")(y))
    quantized = _quantized(model, context)
    rows = {"n0_xf": context.rows["n0_xf"]}
    before, after = (answers(core, rows) for core in (quantized, float_head(quantized)))
    np.testing.assert_allclose(after.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(after, before, atol=1 / 200)
    assert np.unique(after).size > np.unique(before).size


def _quantized(model: Any, context: Context) -> bytes:
    """A core quantized after training."""
    import tensorflow as tf

    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        rows = context.rows["n0_xf"]
        converter.representative_dataset = lambda: ([rows[i : i + 1]] for i in range(100))
        return bytes(converter.convert())


def test_other_cores_stay_as_they_are(parent: Any) -> None:
    import tensorflow as tf

    with quiet():
        core = bytes(tf.lite.TFLiteConverter.from_keras_model(parent).convert())
    assert float_head(core) is core
