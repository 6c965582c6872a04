"""TFLite models in place of SavedModels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.server.status import RequestError
from serving.server.tflite import load


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
