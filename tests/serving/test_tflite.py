"""TFLite models in place of SavedModels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.server.status import RequestError
from serving.server.tflite import TfliteModel, load


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version folder with a model.tflite: y = 2 x + 1 by signature."""
    import tensorflow as tf

    class Line(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def line(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": 2.0 * x + 1.0, "total": tf.reduce_sum(x, axis=1)}

    module = Line()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.line.get_concrete_function()], module
    )
    path = tmp_path_factory.mktemp("tflite")
    (path / "model.tflite").write_bytes(converter.convert())
    return path


def test_signatures_and_answers_of_any_batch(version: Path) -> None:
    model = load(version)
    signature = model.signatures["serving_default"]
    assert dict(signature.inputs).keys() == {"x"}
    assert [dim.size for dim in signature.inputs["x"].tensor_shape.dim] == [-1, 3]
    for rows in (1, 5, 2):
        x = np.arange(3.0 * rows, dtype=np.float32).reshape(rows, 3)
        found = model.run("serving_default", {"x": x}, ["total", "y"])
        assert list(found) == ["total", "y"]
        np.testing.assert_allclose(found["y"], 2 * x + 1)
        np.testing.assert_allclose(found["total"], x.sum(axis=1))
    model.close()


def test_many_threads_at_once_do_not_mix(version: Path) -> None:
    model = load(version)

    def ask(value: int) -> bool:
        x = np.full((1 + value % 3, 3), value, np.float32)
        return bool((model.run("serving_default", {"x": x}, ["y"])["y"] == 2 * x + 1).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))
    model.close()


def test_what_does_not_fit_is_refused(version: Path, tmp_path: Path) -> None:
    model = load(version)
    with pytest.raises(RequestError, match="Expects x to be float but double is provided"):
        model.run("serving_default", {"x": np.zeros((1, 3))}, ["y"])
    with pytest.raises(RequestError, match=r"x has shape \[1, 3, 2\], and \[-1, 3\]"):
        model.run("serving_default", {"x": np.zeros((1, 3, 2), np.float32)}, ["y"])
    model.close()
    with pytest.raises(RequestError, match="No such file"):
        load(tmp_path)
    (tmp_path / "model.tflite").write_bytes(b"damaged")
    with pytest.raises(RequestError, match=r"model\.tflite"):
        load(tmp_path)


def test_several_signatures_and_none(tmp_path: Path, version: Path) -> None:
    import tensorflow as tf
    from tensorflow.lite.tools import flatbuffer_utils

    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def double(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": 2.0 * x}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def triple(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": 3.0 * x}

    two = Two()
    signatures = {"double": two.double, "triple": two.triple}
    tf.saved_model.save(two, str(tmp_path / "two"), signatures=signatures)
    content = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "two")).convert()
    (tmp_path / "model.tflite").write_bytes(content)
    model = load(tmp_path)
    for rows in (1, 3):
        x = np.arange(rows, dtype=np.float32)
        for signature, factor in (("double", 2), ("triple", 3)):
            np.testing.assert_array_equal(model.run(signature, {"x": x}, ["y"])["y"], factor * x)
    model.close()

    parsed = flatbuffer_utils.convert_bytearray_to_object((version / "model.tflite").read_bytes())
    parsed.signatureDefs = None
    unsigned = flatbuffer_utils.convert_object_to_bytearray(parsed)
    (tmp_path / "model.tflite").write_bytes(unsigned)
    model = load(tmp_path)
    (name,) = model.signatures["serving_default"].inputs
    for rows in (2, 1):
        x = np.ones((rows, 3), np.float32)
        found = model.run(
            "serving_default", {name: x}, list(model.signatures["serving_default"].outputs)
        )
        assert sorted(value.ravel()[0] for value in found.values()) == [3.0, 3.0]
    model.close()


def test_a_refused_request_does_not_spoil_the_next() -> None:
    import tensorflow as tf

    class Sum(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 2], tf.float32, name="a"),
                tf.TensorSpec([None, 2], tf.float32, name="b"),
            ]
        )
        def sum(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.concat([a, b], axis=1)}

    module = Sum()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.sum.get_concrete_function()], module
    )
    model = TfliteModel(converter.convert())
    one, two = np.ones((1, 2), np.float32), np.ones((2, 2), np.float32)
    assert model.run("serving_default", {"a": two, "b": two}, ["y"])["y"].shape == (2, 4)
    with pytest.raises(RequestError):
        model.run("serving_default", {"a": two, "b": np.ones((3, 2), np.float32)}, ["y"])
    assert model.run("serving_default", {"a": one, "b": one}, ["y"])["y"].tolist() == [[1.0] * 4]
    assert model.run("serving_default", {"a": two, "b": two}, ["y"])["y"].shape == (2, 4)
    model.close()
