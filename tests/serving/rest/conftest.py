"""REST servers over real sockets, and a model with a signature for every kind of JSON value."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.server.classify import classify_handlers
from serving.server.core import ServerCore
from serving.server.handlers import build_handlers
from serving.server.rest import RestServer, build_app, start_rest
from serving.server.saved_model import load

DTYPES = ["float", "double", "half", "bfloat16", "int32", "uint8", "int8", "int64", "uint32"]
DTYPES += ["uint64", "uint16", "bool", "string", "complex64"]
NAMES = {"float": "float32", "double": "float64", "half": "float16"}


def _export_kinds(path: Path) -> None:
    """One graph; a signature `<dtype>` for each dtype that returns its input `x` as `y`."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    info, signature = tf1.saved_model.build_tensor_info, tf1.saved_model.build_signature_def

    def build(inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
        return signature(
            {name: info(tensor) for name, tensor in inputs.items()},
            {name: info(tensor) for name, tensor in outputs.items()},
            "tensorflow/serving/predict",
        )

    with tf.Graph().as_default(), tf1.Session() as session:
        signatures = {}
        for name in DTYPES:
            x = tf1.placeholder(NAMES.get(name, name), tf.TensorShape(None), name=name)
            signatures[name] = build({"x": x}, {"y": tf.identity(x)})
        x = tf1.placeholder(tf.float32, [None, 2], name="pairs")
        word = tf1.placeholder(tf.string, [None], name="word")
        signatures["serving_default"] = build({"x": x}, {"y": tf.reduce_sum(x, 1)})
        signatures["two"] = build(
            {"x": x, "word": word}, {"doubled": 2 * x, "word_bytes": tf.identity(word)}
        )
        signatures["scalar"] = build({"x": x}, {"total": tf.reduce_sum(x)})
        signatures["uneven"] = build({"x": x}, {"a": 2 * x, "b": x[:1]})
        signatures["constant"] = build({}, {"y": tf.constant([1.0])})
        checked = tf.debugging.assert_positive(x, "not positive")
        with tf.control_dependencies([checked]):
            signatures["refusing"] = build({"x": x}, {"y": tf.identity(x)})

        serialized = tf1.placeholder(tf.string, [None], name="examples")
        fare = tf.io.parse_example(serialized, {"x": tf.io.FixedLenFeature([], tf.float32, 0.5)})
        score = tf.sigmoid(fare["x"])
        labels = tf.tile(tf.constant([[b"low", b"high"]]), [tf.size(score), 1])
        signatures["classify"] = signature(
            {"inputs": info(serialized)},
            {"classes": info(labels), "scores": info(tf.stack([1 - score, score], 1))},
            "tensorflow/serving/classify",
        )
        signatures["regress"] = signature(
            {"inputs": info(serialized)},
            {"outputs": info(fare["x"] / 2)},
            "tensorflow/serving/regress",
        )
        builder = tf1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


@pytest.fixture(scope="session")
def rest_core(
    exported: dict[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerCore]:
    """`taxi`: version 7, label `stable`; `kinds`: version 1."""
    folder = tmp_path_factory.mktemp("rest")
    shutil.copytree(exported[2], folder / "taxi" / "7")
    _export_kinds(folder / "kinds" / "1")
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
def handlers(rest_core: ServerCore) -> dict[str, Any]:
    return {**build_handlers(rest_core, health=False), **classify_handlers(rest_core)}


@pytest.fixture
def start(
    rest_core: ServerCore, handlers: dict[str, Any]
) -> Iterator[Callable[..., tuple[RestServer, str]]]:
    """Starts a server with settings of its own: `start(cors=True, server={"threads": 1})`."""
    running = []

    def begin(
        *,
        core: ServerCore = rest_core,
        methods: dict[str, Any] = handlers,
        server: dict[str, Any] | None = None,
        **settings: Any,
    ) -> tuple[RestServer, str]:
        app = build_app(core, methods, **settings)
        rest = start_rest(app, 0, "127.0.0.1", **{"threads": 4, **(server or {})})
        running.append(rest)
        return rest, f"http://127.0.0.1:{rest.port}"

    yield begin
    for rest in running:
        rest.stop(0)


@pytest.fixture(scope="session")
def rest_server(rest_core: ServerCore, handlers: dict[str, Any]) -> Iterator[RestServer]:
    app = build_app(rest_core, handlers, metrics=lambda: b"requests 1\n", max_body_bytes=2**20)
    server = start_rest(app, 0, "127.0.0.1", threads=4)
    yield server
    server.stop(0)


@pytest.fixture(scope="session")
def http(rest_server: RestServer) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"http://127.0.0.1:{rest_server.port}", trust_env=False, timeout=30
    ) as client:
        yield client


@pytest.fixture(scope="session")
def post(http: httpx.Client) -> Callable[..., httpx.Response]:
    """Posts JSON to a model: `post("kinds", "predict", {...})`."""

    def send(model: str, operation: str, document: Any) -> httpx.Response:
        return http.post(f"/v1/models/{model}:{operation}", content=json.dumps(document))

    return send
