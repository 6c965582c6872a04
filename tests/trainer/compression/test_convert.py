"""Cores of every kind answer as their source, and one that does not is refused with the reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import NodeFailed
from trainer.compression.candidate import Compressed, Numbers
from trainer.compression.context import Context
from trainer.compression.convert import convert
from trainer.compression.effects import effects
from trainer.input import Held

Rows = dict[str, np.ndarray]


def _seen(compared: int, seen: int) -> str:
    return (
        f"compared on {compared} rows, of which calibration saw {seen}, too: there is no val split"
    )


_OF_256 = _seen(256, 156)  # 300 rows, 200 to calibrate on.


def _with_rows(context: Context, rows: Rows, val: Rows | None = None) -> Context:
    """The context with other training rows, and with `val` as validation rows, if any."""
    count = len(next(iter(rows.values())))
    held = Held(rows, np.zeros((count, 1), np.int64))
    train = dataclasses.replace(context.train_split, held=held, rows=count)
    val_split = val and dataclasses.replace(train, held=Held(val, held.label[: len(val)]))
    return dataclasses.replace(context, rows=rows, train_split=train, val_split=val_split or None)


def _answers(core: bytes, rows: Rows) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=core).get_signature_runner()
    return np.array(runner(**rows)["predictions"])


def _model(*layers: Any, width: int = 40, name: str = "x") -> Any:
    import tf_keras

    tf_keras.utils.set_random_seed(2)
    inputs = x = tf_keras.Input((width,), name=name)
    for layer in layers:
        x = layer(x)
    return tf_keras.Model({name: inputs}, x, name="made")


def _numbers(rows: int = 300, width: int = 40) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(rows, width)).astype(np.float32)


@pytest.fixture(scope="module")
def val(context: Context, parent: Any) -> Rows:
    assert context.val_split is not None
    assert context.val_split.held is not None
    return {name: context.val_split.held.features[name] for name in parent.input_names}


# How near a core comes (largest difference of a probability), and its share of the float's bytes.
@pytest.mark.parametrize(
    ("numbers", "off", "share"),
    [
        ("float32", 1e-6, 1.0),
        ("float16", 2e-3, 0.68),
        ("dynamic_range", 0.05, 0.65),
        ("int8", 0.15, 0.55),
        ("int16x8", 0.02, 0.7),
    ],
)
def test_a_core_of_each_kind(
    numbers: Numbers, off: float, share: float, parent: Any, context: Context, val: Rows, auc: Any
) -> None:
    before = parent.get_weights()
    core = convert(Compressed(parent, numbers), context, 200)
    answers = _answers(core.content, val)  # 1,000 rows, of a core that was made of single ones.
    assert answers.dtype == np.float32
    source = np.asarray(parent(val))
    assert np.abs(answers - source)[:256].max() == pytest.approx(core.max_difference, abs=1e-7)
    assert core.max_difference < off
    assert abs(auc(lambda _: answers) - auc(parent)) < 0.003

    counted = effects(parent, core.content)
    whole = convert(Compressed(parent), context).content
    assert len(core.content) <= share * len(whole)
    assert (counted["int8_tensors"] > 0) == (numbers not in ("float32", "float16"))
    for old, now in zip(before, parent.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    if numbers == "int8":
        assert core.notes == ()  # Every op computes in integers, but for the last activation:
        assert not np.allclose(answers * 256, np.rint(answers * 256))
    if numbers == "dynamic_range":
        assert core.notes == ("3 of 4 kernels left in float32",)


def _scales(core: bytes) -> dict[tuple[int, ...], int]:
    """How many scales each kernel has, by its shape."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_content=core).get_tensor_details()
    return {
        tuple(detail["shape"]): len(detail["quantization_parameters"]["scales"])
        for detail in details
        if detail["dtype"] is np.int8
    }


def test_units_have_scales_of_their_own_where_that_helps(context: Context) -> None:
    from tf_keras import layers

    rows = {"x": _numbers()}
    alike = _model(layers.Dense(48, "relu"), layers.Dense(1))
    core = convert(Compressed(alike, "int8"), _with_rows(context, rows))
    assert _scales(core.content)[48, 40] == 1
    apart = _model(layers.Dense(48, "relu", name="hidden"), layers.Dense(1))
    rows["x"][:, 0] = 0.0
    kernel = apart.get_layer("hidden").kernel.numpy()
    kernel[0, 0] = 50.0  # One scale for all units would leave nothing of the others.
    apart.get_layer("hidden").kernel.assign(kernel)
    core = convert(Compressed(apart, "int8"), _with_rows(context, rows))
    assert _scales(core.content)[48, 40] == 48
    assert core.max_difference < 0.2 * float(np.ptp(apart(rows)))


def test_convolutions_become_int8(context: Context) -> None:
    from tf_keras import layers

    model = _model(
        layers.Reshape((8, 8, 1)),
        layers.Conv2D(16, 3, activation="relu", name="first"),
        layers.BatchNormalization(),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(10, "softmax"),
        width=64,
    )
    rows = {"x": _numbers(width=64)}
    core = convert(Compressed(model, "int8"), _with_rows(context, rows), 200)
    assert core.notes == (_OF_256,)
    assert 0 < core.max_difference < 0.1
    assert _scales(core.content)[32, 3, 3, 16] == 32
    float_bytes = len(convert(Compressed(model), _with_rows(context, rows)).content)
    assert len(core.content) < 0.5 * float_bytes


def test_names_that_are_no_identifiers(context: Context) -> None:
    from tf_keras import layers

    model = _model(layers.Dense(30), layers.Dense(1), name="speed (km/h)_xf")
    rows = {"speed (km/h)_xf": _numbers()}
    core = convert(Compressed(model, "int8"), _with_rows(context, rows))
    found = _answers(core.content, {"speed__km_h__xf": rows["speed (km/h)_xf"]})
    assert np.abs(found - np.asarray(model(rows))).max() < 0.1


def test_two_inputs_of_one_name_are_refused(context: Context) -> None:
    import tf_keras

    inputs = {name: tf_keras.Input((1,), name=name) for name in ("a b", "a-b")}
    x = tf_keras.layers.Concatenate()(list(inputs.values()))
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(1)(x))
    with pytest.raises(NodeFailed, match="inputs 'a b' and 'a-b' have one name"):
        convert(Compressed(model), context)


def test_bags_of_any_length(context: Context) -> None:
    """Calibrated on bags of 7, compared on bags of 4."""
    import tf_keras
    from tf_keras import layers

    tf_keras.utils.set_random_seed(2)
    ids = tf_keras.Input((None,), dtype="int64", name="ids")
    weights = tf_keras.Input((None,), name="weights")
    x = layers.Dot(axes=1)([weights, layers.Embedding(50, 16)(ids)])
    model = tf_keras.Model({"ids": ids, "weights": weights}, layers.Dense(1, "sigmoid")(x))
    rng = np.random.default_rng(1)

    def rows(count: int, length: int) -> Rows:
        drawn = {"ids": rng.integers(0, 50, (count, length))}
        return drawn | {"weights": rng.random((count, length)).astype(np.float32)}

    given = _with_rows(context, rows(120, 7), val=rows(60, 4))
    kinds: tuple[Numbers, ...] = ("float32", "float16", "int8")
    for numbers in kinds:
        assert convert(Compressed(model, numbers), given).max_difference < 0.02


def test_what_stays_in_float_is_said(context: Context) -> None:
    import tensorflow as tf
    from tf_keras import layers

    model = _model(layers.Dense(32), layers.Activation(tf.sin), layers.Dense(4))
    core = convert(Compressed(model, "int8"), _with_rows(context, {"x": _numbers(500)}), 200)
    assert core.notes == ("computes in float: 1 FULLY_CONNECTED, 1 SIN",)


def test_an_op_without_a_kernel_in_tflite(context: Context) -> None:
    import tensorflow as tf
    from tf_keras import layers

    model = _model(layers.Dense(4), layers.Activation(tf.math.bessel_i0))
    with pytest.raises(NodeFailed, match="TFLite cannot convert 'made' to float32") as refused:
        convert(Compressed(model), _with_rows(context, {"x": _numbers()}))
    assert "BesselI0" in refused.value.headline
    assert len(refused.value.headline) < 400


def test_a_core_that_takes_one_row_only(context: Context) -> None:
    """The converter ends without error, and one row is answered well."""
    import tensorflow as tf
    from tf_keras import layers

    model = _model(layers.Dense(4), layers.Activation(tf.math.lgamma))
    with pytest.raises(NodeFailed, match="LiteRT does not run the core of 'made': Given shapes"):
        convert(Compressed(model), _with_rows(context, {"x": _numbers()}))


def test_kernels_too_small_for_dynamic_range(context: Context) -> None:
    from tf_keras import layers

    model = _model(layers.Dense(20), layers.Dense(1))  # 800 weights: TFLite leaves them, silently.
    with pytest.raises(NodeFailed, match="dynamic_range left every kernel of 'made' in float32"):
        convert(Compressed(model, "dynamic_range"), _with_rows(context, {"x": _numbers()}))


@pytest.mark.parametrize(("there", "asked", "used"), [(60, None, 60), (60, 500, 60), (300, 20, 20)])
def test_a_representative_set_that_is_too_small(
    there: int, asked: int | None, used: int, context: Context, parent: Any
) -> None:
    few = dataclasses.replace(context, rows={n: v[:there] for n, v in context.rows.items()})
    kinds: tuple[Numbers, ...] = ("int8", "int16x8")
    for numbers in kinds:
        with pytest.raises(NodeFailed, match=f"set of {used} rows is too small.* needs 100"):
            convert(Compressed(parent, numbers), few, asked)
    assert convert(Compressed(parent, "float16"), few, asked).content  # It needs none.


def test_fewer_rows_than_asked_for_are_said(context: Context, parent: Any) -> None:
    assert convert(Compressed(parent, "int16x8"), context, 800).notes == (
        "calibrated on 500 of the 800 rows that were asked for",
    )


@pytest.mark.parametrize("numbers", ["int8", "int16x8"])
def test_a_flag_that_no_representative_row_has(numbers: Numbers, context: Context) -> None:
    """Without a training row that has it, its range is empty."""
    import tf_keras

    tf_keras.utils.set_random_seed(2)
    inputs = {"flag": tf_keras.Input((1,), name="flag"), "x": tf_keras.Input((30,), name="x")}
    x = tf_keras.layers.Concatenate()(list(inputs.values()))
    x = tf_keras.layers.Dense(32, "relu")(x)
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(1, "sigmoid")(x))
    rows = {"flag": np.zeros((300, 1), np.float32), "x": _numbers(300, 30)}
    rows["flag"][250] = 1.0
    seen = {name: values[:200] for name, values in rows.items()}
    flagged = {"flag": np.ones((50, 1), np.float32), "x": _numbers(50, 30)}
    context = dataclasses.replace(context, tolerance=4e-4)  # 10 % of the spread.
    given = dataclasses.replace(_with_rows(context, rows, val=flagged), rows=seen)
    assert convert(Compressed(model, numbers), given).max_difference < 0.03
    without = dataclasses.replace(
        given, train_split=dataclasses.replace(given.train_split, held=None)
    )
    if numbers == "int8":
        notes = convert(Compressed(model, numbers), without).notes
        assert notes[0].startswith("flag: one value in all 200 rows of the calibration")
    if numbers == "int16x8":
        with pytest.raises(NodeFailed, match="answers otherwise after conversion to int16x8"):
            convert(Compressed(model, numbers), without)


def test_rows_that_calibration_did_not_see(context: Context) -> None:
    """Without a val split they are those behind the representative ones."""
    from tf_keras import layers

    model = _model(layers.Dense(32, "relu"), layers.Dense(1, "sigmoid"))
    rows = {"x": _numbers(500)}
    given = _with_rows(context, rows)
    core = convert(Compressed(model, "int8"), given, 200)
    off = np.abs(_answers(core.content, rows) - np.asarray(model(rows)))
    assert core.max_difference == pytest.approx(off[200:456].max(), abs=1e-7)
    assert core.max_difference != pytest.approx(off[:256].max(), abs=1e-5)
    assert core.notes == ()
    assert convert(Compressed(model, "int8"), given).notes == (_seen(256, 256),)
    assert convert(Compressed(model, "int8"), given, 300).notes == (_seen(256, 56),)
    assert convert(Compressed(model, "float16"), given).notes == ()


@pytest.mark.parametrize("step", ["float_head", "slim"])
def test_a_step_after_conversion_that_fails(
    step: str, parent: Any, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Say, of an op that the flatbuffer's Python schema does not know."""

    def fails(core: bytes) -> bytes:
        raise KeyError(len(core))

    monkeypatch.setattr(f"trainer.compression.convert.{step}", fails)
    with pytest.raises(NodeFailed, match="cannot finish the core of 'dnn': KeyError"):
        convert(Compressed(parent), context)


def test_nan_weights(context: Context) -> None:
    from tf_keras import layers

    model = _model(layers.Dense(8, "relu", name="hidden"), layers.Dense(1))
    given = _with_rows(context, {"x": _numbers()})
    kernel = model.get_layer("hidden").kernel
    kernel.assign(np.full(kernel.shape, np.nan, np.float32))
    kinds: tuple[Numbers, ...] = ("float32", "int8")
    for numbers in kinds:
        with pytest.raises(NodeFailed, match="weights of hidden/kernel are NaN or infinite"):
            convert(Compressed(model, numbers), given)


def test_nan_after_conversion(context: Context) -> None:
    """A bias of 1e-9 is 0 in float16, and its logarithm infinite."""
    import tensorflow as tf
    from tf_keras import layers

    logarithms = layers.Dense(32, tf.math.log, weights=[np.zeros((40, 32)), np.full(32, 1e-9)])
    model = _model(logarithms, layers.Dense(1, "sigmoid"))
    given = _with_rows(context, {"x": _numbers()})
    assert convert(Compressed(model), given).max_difference < 1e-6
    with pytest.raises(NodeFailed, match="NaN or infinity after conversion to float16, in 256 of"):
        convert(Compressed(model, "float16"), given)


def test_nan_before_conversion(context: Context) -> None:
    from tf_keras import layers

    rows = {"x": _numbers()}
    broken = {"x": np.full((3, 40), np.nan, np.float32)}
    with pytest.raises(NodeFailed, match="before any conversion"):
        convert(Compressed(_model(layers.Dense(1))), _with_rows(context, rows, val=broken))


@pytest.mark.parametrize(("numbers", "tolerance"), [("float32", 1e-12), ("int8", 1e-6)])
def test_answers_beyond_the_tolerance(
    numbers: Numbers, tolerance: float, parent: Any, context: Context
) -> None:
    strict = dataclasses.replace(context, tolerance=tolerance)
    with pytest.raises(NodeFailed, match=f"otherwise after conversion to {numbers}: by up to"):
        convert(Compressed(parent, numbers), strict)


def test_the_spread_is_that_of_the_answers(context: Context) -> None:
    """Prices about 250,000 are compared in their own unit, and so are shares of a thousandth."""
    from tf_keras import layers

    for scale, mean in ((40_000.0, 250_000.0), (1e-3, 0.0)):
        unit = layers.Dense(1, weights=[np.array([[scale]]), np.array([mean])])
        model = _model(layers.Dense(32, "relu"), layers.Dense(1), unit)
        core = convert(Compressed(model, "int8"), _with_rows(context, {"x": _numbers()}))
        assert 1e-4 * scale < core.max_difference < 0.2 * scale


def test_a_model_of_quantization_aware_training_has_ranges_of_its_own(context: Context) -> None:
    from tensorflow_model_optimization.quantization.keras import quantize_model
    from tf_keras import layers

    model = quantize_model(_model(layers.Dense(32, "relu"), layers.Dense(1, "sigmoid")))
    rows = {"x": _numbers()}
    for _ in range(50):  # Moves the ranges to those of the rows.
        model(rows, training=True)
    few = dataclasses.replace(_with_rows(context, rows), rows={"x": rows["x"][:10]})
    core = convert(Compressed(model, "int8"), few)
    assert core.notes == (_seen(10, 10),)
    assert effects(model, core.content)["int8_tensors"] >= 5
    # Two steps of the output: the fake-quant nodes round as the core does.
    assert core.max_difference < 2 / 255
    with pytest.raises(NodeFailed, match="trained for int8 and has no core in float16"):
        convert(Compressed(model, "float16"), few)
