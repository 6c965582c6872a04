"""A regression in int8 answers in float: many values, and beyond what calibration saw."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from trainer.compression.candidate import Compressed
from trainer.compression.context import Context
from trainer.compression.convert import convert
from trainer.compression.dequantize import stored
from trainer.compression.float_dense import float_dense
from trainer.input import Held
from trainer.models.build import LabelScale, in_label_unit

Rows = dict[str, np.ndarray]


def _answers(core: bytes, rows: Rows) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    return np.array(Interpreter(model_content=core).get_signature_runner()(**rows)["predictions"])


@pytest.fixture(scope="module")
def rows() -> Rows:
    return {"x": np.random.default_rng(3).normal(size=(1000, 20)).astype(np.float32)}


@pytest.fixture(scope="module")
def given(context: Context, rows: Rows) -> Context:
    split = dataclasses.replace(
        context.train_split, held=Held(rows, np.zeros((1000, 1), np.int64)), rows=1000
    )
    return dataclasses.replace(context, rows=rows, train_split=split, val_split=None)


def _regression(scale: LabelScale | None, outputs: int = 1) -> Any:
    import tf_keras

    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(2)
    x = tf_keras.Input((20,), name="x")
    y = layers.Dense(32, "relu")(layers.Dense(64, "relu")(x))
    bias = tf_keras.initializers.Constant(0.3)
    model = tf_keras.Model({"x": x}, layers.Dense(outputs, bias_initializer=bias, name="head")(y))
    return model if scale is None else in_label_unit(model, scale)


@pytest.mark.parametrize(
    ("scale", "outputs", "floats"),
    [(LabelScale(2e5, 1e5), 1, 2), (LabelScale(2e5, 1e5), 3, 2), (None, 1, 1), (None, 3, 1)],
    ids=["label_unit", "quantiles", "head", "three"],
)
def test_answers_are_float(
    scale: LabelScale | None, outputs: int, floats: int, given: Context, rows: Rows
) -> None:
    model = _regression(scale, outputs)
    core = convert(Compressed(model, "int8"), given, 300)
    found, wanted = _answers(core.content, rows), np.asarray(model(rows))
    assert np.unique(found).size > 0.9 * found.size
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.02 * np.std(wanted)
    assert core.notes == (f"computes in float: {floats} FULLY_CONNECTED",)
    assert float_dense(core.content) is core.content
    _, missing = stored(model, core.content)
    assert not [name for name in missing if name.startswith("head")]  # It is stored in int8.


def test_answers_beyond_the_calibrated_ones(given: Context, rows: Rows) -> None:
    """As int8 they would end at the largest answer to the calibration's rows."""
    model = _regression(LabelScale(2e5, 1e5))
    order = np.asarray(model(rows))[:, 0].argsort()
    low_first = {"x": rows["x"][order]}
    core = convert(Compressed(model, "int8"), dataclasses.replace(given, rows=low_first), 744)
    found, wanted = _answers(core.content, low_first), np.asarray(model(low_first))
    assert found[-1] > wanted[744:].max() - 0.1 * np.ptp(wanted) > wanted[743]


def test_cores_that_end_otherwise_stay(parent: Any, context: Context) -> None:
    kinds: Any = ("float32", "float16", "int8", "int16x8")  # A sigmoid is the end of each.
    for numbers in kinds:
        content = convert(Compressed(parent, numbers), context, 200).content
        assert float_dense(content) is content
