"""A candidate's folder: the plain form, the core beside it, and how both answer raw rows."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.server import paired, saved_model
from tfx_pipeline.errors import NodeFailed
from trainer.compression.candidate import CORE_FILE, Compressed
from trainer.compression.context import Context
from trainer.compression.pair import DESCRIPTION_FILE, export_candidate

ROWS = 100


@pytest.fixture(scope="module")
def raw(binary: Any, context: Context) -> Context:
    """A context with a real transform graph; one column's name is no identifier, one is a bag."""
    import tensorflow_transform as tft

    from transform.layout import layout

    output = tft.TFTransformOutput(binary.graph)
    return dataclasses.replace(
        context,
        tft_output=output,
        layout=layout(binary.config, output),
        transform=binary.config,
    )


@pytest.fixture(scope="module")
def model(raw: Context) -> Any:
    """A model of these features; how well it predicts does not matter here."""
    import tf_keras

    from trainer.models.build import build

    tf_keras.utils.set_random_seed(3)
    label, train = raw.transform.label, raw.train
    return build(raw.layout, raw.model, train, label, raw.scale, folder=raw.folder)


@pytest.fixture(scope="module")
def examples(binary: Any) -> np.ndarray[Any, Any]:
    return np.array(binary.examples("eval", ROWS, label=False), object)


@pytest.fixture(scope="module")
def features(raw: Context, model: Any, examples: Any) -> dict[str, Any]:
    """The model's inputs, by Transform."""
    import tensorflow as tf

    from transform.layout import model_inputs

    assert raw.tft_output is not None
    spec = raw.tft_output.raw_feature_spec()
    del spec["sold"]
    layer = raw.tft_output.transform_features_layer()
    inputs = model_inputs(layer(tf.io.parse_example(examples, spec)), raw.layout)
    return {name: inputs[name].numpy() for name in model.input_names}


@pytest.fixture(scope="module")
def convert(features: dict[str, Any]) -> Callable[..., bytes]:
    """Converts a model as TFLite does it, whatever `numbers` the candidate says."""
    import tensorflow as tf

    def convert(model: Any, numbers: str) -> bytes:
        safe = {name: f"arg{i}" for i, name in enumerate(model.input_names)}
        safe = {n: "".join(c if c.isalnum() else "_" for c in n) for n in safe}
        specs = {
            safe[name]: tf.TensorSpec(tensor.shape, tensor.dtype, name=safe[name])
            for name, tensor in zip(model.input_names, model.inputs, strict=True)
        }

        @tf.function(autograph=False)
        def core(**given: Any) -> dict[str, Any]:
            inputs = {name: given[alias] for name, alias in safe.items()}
            return {"predictions": model(inputs, training=False)}

        module = tf.Module()
        module.variables_of_the_model = model.variables
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [core.get_concrete_function(**specs)], module
        )
        if numbers != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if numbers == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if numbers == "int8":
            converter.representative_dataset = lambda: (
                {safe[name]: values[i : i + 1] for name, values in features.items()}
                for i in range(ROWS)
            )
        content: bytes = converter.convert()
        return content

    return convert


def _ask(model: Any, examples: Any, signature: str = "serving_default") -> dict[str, Any]:
    definition = model.signatures[signature]
    (alias,) = definition.inputs
    found: dict[str, Any] = model.run(signature, {alias: examples}, list(definition.outputs))
    return found


def _run(core: bytes, model: Any, features: dict[str, Any]) -> Any:
    """The core in process, on the features that Transform made."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=core).get_signature_runner()
    given = {"".join(c if c.isalnum() else "_" for c in n): v for n, v in features.items()}
    return np.array(runner(**given)["predictions"])


@pytest.mark.parametrize("numbers", ["float32", "float16", "dynamic_range", "int8"])
def test_the_pair_answers_as_the_core_and_the_plain_form_comes_near(
    numbers: Any,
    raw: Context,
    model: Any,
    convert: Any,
    features: Any,
    examples: Any,
    tmp_path: Path,
) -> None:
    before = [weight.copy() for weight in model.get_weights()]
    core = convert(model, numbers)
    folder = tmp_path / "candidate"
    notes = export_candidate(Compressed(model, numbers), core, raw, folder)

    assert notes == ()
    for weight, value in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, value)
    assert (folder / CORE_FILE).read_bytes() == core
    description = json.loads((folder / DESCRIPTION_FILE).read_text())
    assert description["sha256"] == hashlib.sha256(core).hexdigest()
    assert description["inputs"]["speed (km/h)_xf"] == "speed__km_h__xf"
    assert (folder / "assets.extra" / "assay_signature.json").exists()

    pair, plain = paired.load(folder), saved_model.load(folder)
    assert set(plain.signatures) >= {"serving_default", "transform_features"}
    for name, value in _ask(plain, examples, "core_inputs").items():
        np.testing.assert_array_equal(value, features[name], err_msg=name)
    answer, near = _ask(pair, examples), _ask(plain, examples)
    by_core, by_model = _run(core, model, features), np.asarray(model(features))
    np.testing.assert_allclose(answer["predictions"], by_core, atol=1e-6)
    chosen = np.where(answer["predictions"][:, 0] > 0.5, b"yes", b"no")
    assert answer["class"].tolist() == chosen.tolist()

    def off(predictions: Any) -> float:
        return float(np.abs(predictions - by_core).mean())

    if numbers == "float32":
        np.testing.assert_allclose(near["predictions"], by_model, atol=1e-6)
    else:
        # With int8 activations are rounded, too, which the plain form does not.
        assert off(near["predictions"]) < (1.0 if numbers == "int8" else 0.7) * off(by_model)
    pair.close()
    plain.close()


def test_without_a_core_it_is_the_trainers_export(
    raw: Context, model: Any, features: Any, examples: Any, tmp_path: Path
) -> None:
    assert export_candidate(Compressed(model), None, raw, tmp_path / "candidate") == ()
    assert not paired.is_pair(tmp_path / "candidate")
    plain = saved_model.load(tmp_path / "candidate")
    assert not {"core_inputs", "core_answer"} & plain.signatures.keys()
    found = _ask(plain, examples)["predictions"]
    np.testing.assert_allclose(found, np.asarray(model(features)), atol=1e-6)
    plain.close()


def test_fake_quant_is_what_the_plain_form_of_a_quantized_training_computes(
    raw: Context, model: Any, convert: Any, tmp_path: Path
) -> None:
    from tensorflow_model_optimization.quantization.keras import (
        quantize_annotate_layer,
        quantize_apply,
        quantize_scope,
    )

    from trainer.compression.kernels import replace_leaves
    from trainer.compression.pair import trained_quantized

    with quantize_scope():
        annotated = replace_leaves(
            model, lambda layer: quantize_annotate_layer(layer) if "hidden" in layer.name else layer
        )
        quantized = quantize_apply(annotated)
    assert trained_quantized(quantized)
    assert not trained_quantized(model)
    core = convert(quantized, "dynamic_range")
    assert export_candidate(Compressed(quantized, "int8"), core, raw, tmp_path / "qat") == ()
    proto = (tmp_path / "qat" / "saved_model.pb").read_bytes()
    assert b"FakeQuantWithMinMaxVars" in proto
    paired.load(tmp_path / "qat").close()


def test_kernels_that_the_core_does_not_hold_are_named(
    raw: Context, model: Any, convert: Any, tmp_path: Path
) -> None:
    core = convert(model, "int8")
    kernel = model.get_layer("hidden_1").kernel
    before = kernel.numpy()
    kernel.assign(before + 1)
    try:
        notes = export_candidate(Compressed(model, "int8"), core, raw, tmp_path / "candidate")
        np.testing.assert_array_equal(kernel.numpy(), before + 1)
    finally:
        kernel.assign(before)
    assert notes == ("hidden_1/kernel:0 is float in the plain form",)


def test_a_core_of_another_model_leaves_no_folder(
    raw: Context, model: Any, convert: Any, tmp_path: Path
) -> None:
    import tf_keras

    x = tf_keras.Input((1,), name="size_xf")
    other = tf_keras.Model({"size_xf": x}, tf_keras.layers.Dense(1)(x))
    with pytest.raises(NodeFailed, match="the core has the inputs size_xf, and the model"):
        export_candidate(Compressed(model), convert(other, "float32"), raw, tmp_path / "candidate")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_whole(
    raw: Context, model: Any, convert: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer import export

    folder = tmp_path / "candidate"
    export_candidate(Compressed(model), convert(model, "float32"), raw, folder)
    monkeypatch.setattr(export, "_write_extra", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(Exception, match="full"):
        export_candidate(Compressed(model), None, raw, folder)
    paired.load(folder).close()
