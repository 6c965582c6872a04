"""Quantization-aware training: int8 emulated where TF-MOT can, and int8 in the core."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import ConfigError, NodeFailed
from trainer.compression.candidate import Compressed
from trainer.compression.config import PruneConfig, QatConfig
from trainer.compression.context import Context
from trainer.compression.convert import convert
from trainer.compression.effects import effects
from trainer.compression.kernels import kernels
from trainer.compression.prune import prune
from trainer.compression.quantize_aware import int8_kernels, qat

# Models that read some of the features are given all, as in the trainer.
pytestmark = pytest.mark.filterwarnings("ignore:Input dict contained keys:UserWarning")

Auc = Callable[[Any], float]

IN_FLOAT = ("DEQUANTIZE", "LOGISTIC")  # At the end: the sigmoid of the answer.


def names(made: Compressed) -> list[str]:
    """The layers with a quantized kernel."""
    from tensorflow_model_optimization.quantization.keras import QuantizeWrapperV2

    wrappers = [layer for layer in made.model.layers if isinstance(layer, QuantizeWrapperV2)]
    return [wrapper.layer.name for wrapper in wrappers if wrapper._weight_vars]


def operations(core: bytes) -> list[tuple[str, str]]:
    """Every op of a core and the type of what it makes."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=core,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    types = {each["index"]: each["dtype"].__name__ for each in interpreter.get_tensor_details()}
    ops = interpreter._get_ops_details()
    return [(op["op_name"], types[op["outputs"][0]]) for op in ops]


@pytest.fixture(scope="module")
def made(parent: Any, context: Context) -> Compressed:
    before = parent.get_weights()
    compressed = qat(parent, QatConfig(steps=100), context)
    for old, now in zip(before, parent.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    return compressed


def test_a_tabular_network(made: Compressed, parent: Any, auc: Auc) -> None:
    assert made.numbers == "int8"
    assert names(made) == ["hidden_0", "hidden_1", "head"]
    embedding = "shop_xf_embedding left in float: TF-MOT cannot quantize layers of type Embedding"
    assert made.notes == (embedding,)
    assert auc(made.model) > auc(parent) - 0.003
    assert effects(made.model, None)["parameters"] == parent.count_params()
    for name, kernel in int8_kernels(made.model).items():
        # What the model computes with is what int8 stores, of the whole range.
        computed = kernels(made.model)[name]
        assert np.abs(kernel).max() == 127
        np.testing.assert_allclose(kernel * (np.abs(computed).max() / 127), computed, atol=1e-6)
        assert (computed != kernels(parent)[name]).any()


def test_its_core_is_int8(made: Compressed, context: Context, auc: Auc) -> None:
    core = convert(made, context)
    ops = operations(core.content)
    assert {kind for op, kind in ops if op not in IN_FLOAT} == {"int8"}
    # Each of the six numbers is quantized once, and not again for the concatenation of seven.
    assert [op for op, _ in ops].count("QUANTIZE") == 6
    assert core.max_difference < 0.02
    assert effects(made.model, core.content)["int8_tensors"] > 10
    stored = _stored(core.content)
    for kernel in int8_kernels(made.model).values():
        assert any(np.array_equal(kernel.T, each) for each in stored)


def _stored(core: bytes) -> list[np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=core,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    found = []
    for each in interpreter.get_tensor_details():
        if each["dtype"] is np.int8 and len(each["shape"]) > 1:
            try:
                found.append(interpreter.get_tensor(each["index"]))
            except ValueError:  # It is not constant.
                continue
    return found


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model(parent: Any, context: Context) -> None:
    one, two = (qat(parent, QatConfig(steps=5), context).model.get_weights() for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_ranges_are_those_of_the_rows(parent: Any, context: Context) -> None:
    """TF-MOT's start at -6 to 6, whatever the numbers are."""
    rows = {n: v / 50 if v.dtype == np.float32 else v for n, v in context.rows.items()}
    model = qat(parent, QatConfig(steps=0), dataclasses.replace(context, rows=rows)).model
    concatenated = model.get_layer("quant_features")
    high = {w.name.split("/")[-1]: float(w) for w in concatenated.weights}["output_max:0"]
    table = np.abs(np.asarray(parent.get_layer("shop_xf_embedding").embeddings)).max()
    assert high <= max(table, max(v.max() for v in rows.values() if v.dtype == np.float32))
    assert high < 3


def test_convolutions(
    convolutional: Any, images: Context, accuracy: Callable[[Any], float]
) -> None:
    made = qat(convolutional, QatConfig(steps=40), images)
    assert made.notes == ()
    # A separable convolution is two.
    parts = ["conv", "wise", "depthwise_conv2d", "conv2d", "plain", "dense", "head"]
    assert [re.sub(r"2d_\d+$", "2d", name) for name in names(made)] == parts
    assert accuracy(made.model) > accuracy(convolutional) - 0.02
    stored = int8_kernels(made.model)
    # Each channel has its own range.
    assert (np.abs(stored["conv/kernel"]).max(axis=(0, 1, 2)) == 127).all()
    core = convert(made, images)
    ops = operations(core.content)
    assert {kind for op, kind in ops if op not in IN_FLOAT} == {"int8"}
    # Normalizations and ReLUs are folded away.
    assert not {op for op, _ in ops} & {"MUL", "ADD", "RELU"}
    assert [op for op, _ in ops].count("DEPTHWISE_CONV_2D") == 2
    assert core.max_difference < 0.1
    # Folding changes the ranges of the channels, and no int8 value.
    assert any(
        np.array_equal(np.moveaxis(stored["conv/kernel"], 3, 0), each)
        for each in _stored(core.content)
    )


def on_numbers(*layers: Any, head: Any = None) -> Any:
    """A model of the six numbers through `layers`."""
    import tf_keras

    inputs = {f"n{i}_xf": tf_keras.Input((1,), name=f"n{i}_xf") for i in range(6)}
    x = tf_keras.layers.Concatenate(name="features")(list(inputs.values()))
    for layer in layers:
        x = layer(x)
    head = head or tf_keras.layers.Dense(1, "sigmoid", name="head")
    return tf_keras.Model(inputs, head(x), name="made")


def test_what_is_left_in_float_is_told_with_the_reason(context: Context) -> None:
    import tf_keras

    class Own(tf_keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs + 1

    layers = tf_keras.layers
    twice = layers.Dense(6, name="twice")
    model = on_numbers(
        layers.Dense(6, "relu", name="first"),
        layers.LayerNormalization(name="norm"),
        layers.Dropout(0.1),
        layers.Dense(6, "elu", name="elu"),  # The registry takes it, and the activation not.
        layers.Activation("elu", name="elu_again"),
        twice,
        twice,
        Own(name="own"),
        layers.Lambda(lambda x: 2 * x, name="double"),
        layers.Dense(8, name="normed"),
        layers.BatchNormalization(name="batch_norm"),
        layers.ReLU(name="relu"),
    )
    made = qat(model, QatConfig(steps=3), context)
    assert names(made) == ["first", "normed", "head"]
    said = "\n".join(made.notes)
    for part in (
        "norm left in float: TF-MOT cannot quantize layers of type LayerNormalization",
        "elu left in float: TF-MOT says: Only some Keras activations",
        "elu_again left in float: TF-MOT says: Activation <function elu",
        "twice left in float: it is called 2 times",
        "own left in float: TF-MOT cannot quantize layers of type Own",
        "double left in float: TF-MOT cannot quantize layers of type Lambda",
        "batch_norm left in float: TFLite would compute normed, in front of it, in float, too",
    ):
        assert part in said
    assert len(made.notes) == 7
    # Each of the others is int8 in the core: what comes to it from a float layer is quantized.
    # (An untrained model answers nearly the same for all rows: differences are large beside that.)
    core = convert(made, dataclasses.replace(context, tolerance=1e-2))
    assert operations(core.content).count(("FULLY_CONNECTED", "int8")) == 3


def test_only_the_named_layers(parent: Any, context: Context) -> None:
    made = qat(parent, QatConfig(steps=3, layers=["hidden_1"]), context)
    assert names(made) == ["hidden_1"]
    assert made.notes == ("only hidden_1 to be quantized, as configured",)
    core = convert(made, context)
    assert operations(core.content).count(("FULLY_CONNECTED", "int8")) == 1
    with pytest.raises(ConfigError, match="no layer 'hiden_1'") as caught:
        qat(parent, QatConfig(layers=["hiden_1"]), context)
    assert caught.value.hint == "Did you mean 'hidden_1'?"
    with pytest.raises(NodeFailed, match="no layer to quantize") as failed:
        qat(parent, QatConfig(layers=["shop_xf_embedding"]), context)
    assert "shop_xf_embedding left in float: TF-MOT cannot" in failed.value.hint


def test_a_model_without_anything_to_quantize(context: Context) -> None:
    import tf_keras

    model = on_numbers(head=tf_keras.layers.Lambda(lambda x: x, name="same"))
    with pytest.raises(NodeFailed, match="'made' has no layer to quantize") as caught:
        qat(model, QatConfig(steps=1), context)
    assert "same left in float" in caught.value.hint


@pytest.mark.slow
def test_a_frozen_model_inside_stays_frozen(images: Context) -> None:
    import tf_keras

    layers = tf_keras.layers
    base = tf_keras.Sequential(
        [
            layers.Conv2D(8, 3, use_bias=False, input_shape=(12, 12, 2), name="inside"),
            layers.BatchNormalization(),
            layers.ReLU(),
        ],
        name="base",
    )
    base.trainable = False
    x = tf_keras.Input((12, 12, 2), name="image")
    y = layers.GlobalAveragePooling2D()(base(x, training=False))
    model = tf_keras.Model({"image": x}, layers.Dense(1, "sigmoid", name="head")(y))
    made = qat(model, QatConfig(steps=3), images)
    assert [weight.name for weight in made.model.trainable_weights] == [
        "head/kernel:0",
        "head/bias:0",
    ]
    inside = made.model.get_layer("quant_inside")._weight_vars[0][0]
    np.testing.assert_array_equal(inside, base.get_weights()[0])
    assert "inside/kernel" in int8_kernels(made.model)
    assert effects(made.model, None)["parameters"] == model.count_params()


@pytest.mark.slow
def test_the_label_unit_and_one_hot_tables_stay(context: Context) -> None:
    import tf_keras
    from ai_edge_litert.interpreter import Interpreter

    from trainer.models.build import LABEL_UNIT_LAYER, LabelScale, build

    spec = dataclasses.replace(context.layout[0], name="shop_xf", kind="ids", size=5)
    scale = LabelScale(200.0, 30.0)
    label = context.transform.label.model_copy(update={"task": "regression", "classes": []})
    held = context.train_split.held
    assert held is not None
    few = {
        name: values % 5 if name == "shop_xf" else values for name, values in held.features.items()
    }
    regression = dataclasses.replace(
        context,
        layout=[*context.layout[:6], spec],
        transform=context.transform.model_copy(update={"label": label}),
        scale=scale,
        train_split=dataclasses.replace(
            context.train_split, held=type(held)(few, 200 + 30 * held.features["n0_xf"])
        ),
        val_split=None,
        rows={name: values[:300] for name, values in few.items()},
    )
    model = build(
        regression.layout, regression.model, regression.train, label, scale, context.folder
    )
    made = qat(model, QatConfig(steps=60, learning_rate=1e-2), regression)
    unit = made.model.get_layer(LABEL_UNIT_LAYER)
    assert [float(np.asarray(w).item()) for w in unit.get_weights()] == [30.0, 200.0]
    table = made.model.get_layer("shop_xf_one_hot").embeddings
    np.testing.assert_array_equal(table, np.eye(5))
    assert f"{LABEL_UNIT_LAYER} left in float: it turns the output into" in made.notes[-2]
    answers = np.asarray(made.model(few)).ravel()
    assert np.corrcoef(answers, few["n0_xf"].ravel())[0, 1] > 0.9
    core = convert(made, regression)
    # The hidden layers; the head is in float, for answers that are.
    assert operations(core.content).count(("FULLY_CONNECTED", "int8")) == 2
    assert any("left in float: in int8 its answers would be one of" in note for note in made.notes)
    runner = Interpreter(model_content=core.content).get_signature_runner()
    found = runner(**{name: few[name] for name in model.input_names})["predictions"]
    assert np.unique(found).size > 1000  # Of 2,000.
    assert isinstance(unit, tf_keras.layers.Dense)


@pytest.mark.slow
def test_zeros_of_a_pruned_parent_are_missed(parent: Any, context: Context) -> None:
    pruned = prune(parent, PruneConfig(sparsity=0.6, steps=0), context).model
    made = qat(pruned, QatConfig(steps=20), context)
    assert "58% of the weights were zero" in made.notes[-1]
    assert "prune_qat keeps them" in made.notes[-1]
