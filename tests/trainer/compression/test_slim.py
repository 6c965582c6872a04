"""A slim core answers as the one it was made from, to the last bit, in fewer bytes; and quietly."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np
import pytest

from trainer.compression.calibrate import representative_rows
from trainer.compression.context import Context
from trainer.compression.convert import _converted
from trainer.compression.quiet import quiet
from trainer.compression.slim import slim


@pytest.fixture(scope="module")
def picture() -> tuple[Any, dict[str, Any]]:
    """A model of convolutions with 300 rows for it."""
    import tf_keras

    tf_keras.utils.set_random_seed(4)
    layers = tf_keras.layers
    image = tf_keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, activation="relu")(image)
    x = layers.DepthwiseConv2D(3)(layers.BatchNormalization()(x))
    x = layers.Dense(5, "softmax")(layers.Flatten()(x))
    rows = np.random.default_rng(1).random((300, 8, 8, 3), np.float32)
    return tf_keras.Model({"image": image}, x), {"image": rows}


def _answers(core: bytes, rows: dict[str, Any]) -> list[Any]:
    """Of one row, then of many, then of few: the interpreter's memory is laid out anew."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=core).get_signature_runner()
    parts = (slice(0, 1), slice(0, 300), slice(5, 12))
    return [
        np.array(runner(**{n: v[part] for n, v in rows.items()})["predictions"]) for part in parts
    ]


def _alike(core: bytes, rows: dict[str, Any]) -> bytes:
    made = slim(core)
    for old, new in zip(_answers(core, rows), _answers(made, rows), strict=True):
        np.testing.assert_array_equal(old, new)
    return made


@pytest.mark.parametrize("numbers", ["float32", "float16", "dynamic_range", "int8", "int16x8"])
def test_answers_stay_to_the_last_bit(numbers: Any, parent: Any, context: Context) -> None:
    from ai_edge_litert.interpreter import Interpreter

    calibration = representative_rows(parent, context, 100)[0] if "int" in numbers else []
    core = _converted(parent, numbers, calibration)
    made = _alike(core, {name: context.rows[name] for name in parent.input_names})
    assert len(made) < len(core) - 1000
    old, new = (Interpreter(model_content=c).get_signature_runner() for c in (core, made))
    for side in ("get_input_details", "get_output_details"):
        was, now = getattr(old, side)(), getattr(new, side)()
        assert was.keys() == now.keys()
        for name in was:
            assert was[name]["dtype"] is now[name]["dtype"]
            assert was[name]["shape_signature"].tolist() == now[name]["shape_signature"].tolist()


@pytest.mark.parametrize("numbers", ["float32", "int8"])
def test_convolutions(numbers: Any, picture: Any, context: Context) -> None:
    model, rows = picture
    calibration = [{"image": rows["image"][i : i + 1]} for i in range(100)]
    core = _converted(model, numbers, calibration if numbers == "int8" else [])
    made = _alike(core, rows)
    assert len(made) < len(core)
    assert _alike(made, rows) == made  # Nothing is left to take away.


def test_weights_are_aligned_and_have_a_scale_for_each_channel(
    parent: Any, context: Context
) -> None:
    from ai_edge_litert import schema_py_generated as schema

    made = slim(_converted(parent, "int8", representative_rows(parent, context, 100)[0]))
    content = np.frombuffer(made, np.uint8)
    model = schema.Model.GetRootAs(content)
    data = [model.Buffers(i).DataAsNumpy() for i in range(model.BuffersLength())]
    starts = [a.ctypes.data - content.ctypes.data for a in data if isinstance(a, np.ndarray)]
    assert len(starts) > 6
    assert {start % 16 for start in starts} == {0}
    graph = model.Subgraphs(0)
    scales = {
        tuple(tensor.ShapeAsNumpy()): tensor.Quantization().ScaleLength()
        for tensor in map(graph.Tensors, range(graph.TensorsLength()))
        if tensor.Quantization() is not None
    }
    hidden = parent.get_layer("hidden_0").kernel.shape
    assert scales[hidden[1], hidden[0]] == hidden[1] == 64
    assert scales[32, 64] == 32


def _fail_quietly() -> None:
    with quiet():
        os.write(2, b"before the fault")
        1 / 0  # noqa: B018


def test_what_is_printed_from_c_goes_to_the_log(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "trainer.compression.quiet"):
        with quiet():
            os.write(1, b"from C++\n")
            os.write(2, b"a warning\xff\n")
        with pytest.raises(ZeroDivisionError):
            _fail_quietly()
    os.write(1, b"heard")
    assert capfd.readouterr() == ("heard", "")
    assert caplog.messages == ["from C++", "a warning\ufffd", "before the fault"]


def test_the_converter_is_not_heard(
    parent: Any, context: Context, capfd: pytest.CaptureFixture[str]
) -> None:
    _converted(parent, "int8", representative_rows(parent, context, 100)[0])
    assert capfd.readouterr() == ("", "")
