"""Small SavedModels and running servers, made once for all serving tests."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import pytest

from serving.client import Client
from tests.serving.kinds import export_kinds

if TYPE_CHECKING:
    from serving.server.core import ServerCore

KINDS = {"fare": "float", "miles": "float", "hour": "int", "company": "bytes"}


def _export(path: Path, scale: float) -> None:
    """A model with a dense signature (outputs `y`, `text`) and an `examples` signature."""
    import tensorflow as tf

    class Dense(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(np.full((3, 1), scale, np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def dense(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.matmul(x, self.kernel), "text": tf.strings.as_string(x)}

        @tf.function(
            input_signature=[
                tf.TensorSpec([], tf.string, name="word"),
                tf.TensorSpec([None], tf.int64, name="numbers"),
            ]
        )
        def scalars(self, word: tf.Tensor, numbers: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"echo": tf.strings.join([word, b"\0"]), "total": tf.reduce_sum(numbers)}

        @tf.function(input_signature=[tf.TensorSpec([], tf.int64, name="steps")])
        def slow(self, steps: tf.Tensor) -> dict[str, tf.Tensor]:
            value = tf.constant(0.0)
            for _ in tf.range(steps):
                value = tf.sin(value + 1.0)
            return {"value": value}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def parse(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
            parsed = tf.io.parse_example(
                examples,
                {
                    "fare": tf.io.FixedLenFeature([], tf.float32, -1.0),
                    "miles": tf.io.FixedLenFeature([], tf.float32, -1.0),
                    "hour": tf.io.FixedLenFeature([], tf.int64, -1),
                    "company": tf.io.FixedLenFeature([], tf.string, "none"),
                },
            )
            return {
                "score": tf.expand_dims(scale * parsed["fare"] + parsed["miles"], 1),
                "hour": parsed["hour"],
                "company": parsed["company"],
            }

    module = Dense()
    tf.saved_model.save(
        module,
        str(path),
        signatures={
            "serving_default": module.parse,
            "dense": module.dense,
            "scalars": module.scalars,
            "slow": module.slow,
        },
    )
    info = path / "assets.extra" / "assay_signature.json"
    info.parent.mkdir()
    info.write_text(json.dumps({"columns": KINDS, "label": "tips", "missing_values": ["?"]}))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Scale to SavedModel folder: the same model with two weights."""
    folder = tmp_path_factory.mktemp("exported")
    for scale in (2, 3):
        _export(folder / str(scale), float(scale))
    return {scale: folder / str(scale) for scale in (2, 3)}


@pytest.fixture
def push(exported: dict[int, Path]) -> Callable[..., Path]:
    """Puts a model under a base path as a Pusher does: beside, then renamed into place."""

    def put(base: Path, version: int, scale: int = 2) -> Path:
        base.mkdir(parents=True, exist_ok=True)
        beside = base / f"tmp-{version}"
        shutil.copytree(exported[scale], beside)
        return beside.rename(base / str(version))

    return put


@pytest.fixture(scope="session")
def kinds_core(
    exported: dict[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerCore]:
    """`taxi`: version 7, label `stable`; `kinds`: version 1."""
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    from serving.server.core import ServerCore
    from serving.server.saved_model import load

    folder = tmp_path_factory.mktemp("kinds")
    shutil.copytree(exported[2], folder / "taxi" / "7")
    export_kinds(folder / "kinds" / "1")
    config = ModelServerConfig()
    for name in ("taxi", "kinds"):
        config.model_config_list.config.add(
            name=name, base_path=str(folder / name), model_platform="tensorflow"
        )
    core = ServerCore(lambda _, path: load(path))
    core.configure(config)
    config.model_config_list.config[0].version_labels["stable"] = 7
    core.configure(config)
    yield core
    core.close()


@pytest.fixture(scope="session")
def handlers(kinds_core: ServerCore) -> dict[str, Any]:
    """The gRPC handlers of `kinds_core`."""
    from serving.server.classify import classify_handlers
    from serving.server.handlers import build_handlers

    return {**build_handlers(kinds_core, health=False), **classify_handlers(kinds_core)}


@pytest.fixture(scope="session")
def server(exported: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running server: model `taxi`, version 7, weight 2."""
    from serving.server.options import ServerOptions
    from serving.server.running import start

    base = tmp_path_factory.mktemp("served")
    shutil.copytree(exported[2], base / "7")
    options = ServerOptions(
        port=0,
        model_name="taxi",
        model_base_path=str(base),
        enable_grpc_healthcheck_service=True,
    )
    with start(options) as running:
        running.base = base
        yield running


@pytest.fixture(scope="session")
def address(server: Any) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client
