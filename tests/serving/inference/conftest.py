"""Models with Classify and Regress signatures, models for batching, and a core that holds one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import pytest

from serving.server.core import ServerCore
from serving.server.saved_model import SavedModel, load
from serving.server.status import invalid_argument
from serving.server.versions import not_served

LABELS = [b"low", b"high"]


class OneModelCore(ServerCore):
    """A core with one model, `m`, version 4: what a handler needs of a core."""

    def __init__(self, model: Any) -> None:
        self.held = model

    def lease(
        self, name: str, version: int | None = None, label: str = ""
    ) -> AbstractContextManager[Any]:
        @contextmanager
        def held() -> Iterator[Any]:
            if not name:
                raise invalid_argument("ModelSpec has no name specified.")
            if name != "m" or version not in (None, 4):
                raise not_served(name, version)
            yield 4, self.held

        return held()


def _export_tf1(path: Path) -> None:
    """Every signature on one placeholder of serialized examples with a float feature `x`."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        serialized = tf1.placeholder(tf.string, [None], name="examples")
        x = tf.io.parse_example(serialized, {"x": tf.io.FixedLenFeature([], tf.float32, 0.0)})["x"]
        count = tf.size(x)
        score = tf.sigmoid(x)
        scores = tf.stack([1 - score, score], 1)
        classes = tf.tile(tf.constant([LABELS]), [count, 1])
        tensors = {
            "both": {"classes": classes, "scores": scores},
            "only_classes": {"classes": classes},
            "only_scores": {"scores": scores},
            "third_output": {"classes": classes, "scores": scores, "x": x},
            "no_known_output": {"x": x},
            "scores_vector": {"scores": score},
            "scores_double": {"scores": tf.cast(scores, tf.float64)},
            "classes_float": {"classes": scores},
            "scores_short": {"scores": scores[:1]},
            "uneven": {"classes": classes[:, :1], "scores": scores},
        }
        regressions = {
            "half": {"outputs": x / 2},
            "column": {"outputs": tf.expand_dims(x / 2, 1)},
            "wide": {"outputs": scores},
            "short": {"outputs": x[:1]},
            "integer": {"outputs": tf.cast(x, tf.int64)},
            "other_alias": {"y": x},
        }
        build = tf1.saved_model.build_signature_def
        info = tf1.saved_model.build_tensor_info

        def signature(outputs: dict[str, Any], method: str, alias: str = "inputs") -> Any:
            tensors = {name: info(tensor) for name, tensor in outputs.items()}
            return build({alias: info(serialized)}, tensors, f"tensorflow/serving/{method}")

        signatures = {name: signature(outputs, "classify") for name, outputs in tensors.items()}
        signatures |= {name: signature(outs, "regress") for name, outs in regressions.items()}
        signatures["serving_default"] = signatures["both"]
        signatures["other_input"] = signature({"scores": scores}, "classify", "examples")
        signatures["no_tensor_input"] = build(
            {"inputs": info(serialized), "more": info(x)}, {"scores": info(scores)}, ""
        )
        signatures["predict"] = signature({"scores": scores}, "predict")
        signatures["on_x"] = build({"inputs": info(x)}, {"outputs": info(x / 2)}, "")
        builder = tf1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


def _export_numeric(path: Path) -> None:
    """A TF2 model for batching: dense, texts, a wrong first dimension, a value it refuses."""
    import tensorflow as tf

    class Numeric(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(np.arange(1, 4, dtype=np.float32).reshape(3, 1))

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 3], tf.float32, name="x"),
                tf.TensorSpec([None], tf.string, name="word"),
            ]
        )
        def dense(self, x: tf.Tensor, word: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = tf.broadcast_to(tf.shape(x)[0], tf.shape(word))
            return {"y": tf.matmul(x, self.kernel), "word": word + b"!", "rows": rows}

        @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
        def double(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": x * 2.0}

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
        def peak(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.reduce_max(x, 1), "width": tf.fill([tf.shape(x)[0]], tf.shape(x)[1])}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def picky(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            check = tf.debugging.assert_non_negative(x, "negative value")
            with tf.control_dependencies([check]):
                return {"y": tf.sqrt(x)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def total(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"sum": tf.reduce_sum(x), "sums": tf.reshape(tf.reduce_sum(x), [1])}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, name="inputs"),
            ]
        )
        def native_regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"outputs": inputs}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
        def lengths(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"outputs": tf.cast(tf.strings.length(inputs), tf.float32)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
        def long(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"scores": tf.cast(tf.strings.length(inputs)[:, None] > 0, tf.float32)}

    module = Numeric()
    names = ("dense", "double", "peak", "picky", "total", "native_regress", "lengths", "long")
    signatures = {name: getattr(module, name) for name in names}
    tf.saved_model.save(module, str(path), signatures=signatures)


@pytest.fixture(scope="session")
def examples_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("examples") / "4"
    _export_tf1(path)
    return path


@pytest.fixture(scope="session")
def examples_core(examples_path: Path) -> Iterator[OneModelCore]:
    model = load(examples_path)
    yield OneModelCore(model)
    model.close()


@pytest.fixture(scope="session")
def numeric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SavedModel]:
    path = tmp_path_factory.mktemp("numeric") / "1"
    _export_numeric(path)
    model = load(path)
    yield model
    model.close()


@pytest.fixture(scope="session")
def one_model_core() -> Callable[[Any], OneModelCore]:
    return OneModelCore
