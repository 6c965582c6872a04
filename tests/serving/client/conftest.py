"""Endpoints for the clients: a server built with TensorFlow Serving's own stubs, and ours."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.client import AsyncClient, Client, RestClient
from serving.server.classify import classify_handlers
from serving.server.core import ServerCore
from serving.server.grpc_front import start_grpc
from serving.server.handlers import build_handlers
from serving.server.rest import build_app, start_rest
from serving.server.saved_model import load

DTYPES = ["float", "double", "half", "int32", "uint8", "int8", "int16", "int64", "uint32"]
DTYPES += ["uint64", "uint16", "bool", "string"]
NAMES = {"float": "float32", "double": "float64", "half": "float16"}


class StockServer(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """A server of someone else's: stock stubs, stock conversion. Model `double` answers y = 2x for
    the dtype that `dtype` says; requests are kept in `seen`."""

    def __init__(self) -> None:
        self.dtype = tf.float32
        self.seen: list[Any] = []
        self.metadata_sent: list[dict[str, str]] = []
        self.fail_with: list[grpc.StatusCode] = []
        self.tells_metadata = True

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]

    def _note(self, request: Any, context: grpc.ServicerContext) -> None:
        self.seen.append(request)
        self.metadata_sent.append(dict(context.invocation_metadata()))
        if request.model_spec.name != "double":
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(x)")
        if self.fail_with:
            context.abort(self.fail_with.pop(0), "told to fail")

    def Predict(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        x = tf.make_ndarray(request.inputs["x"])
        if request.inputs["x"].dtype != self.dtype.as_datatype_enum:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Expects x to be {self.dtype.name}")
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        response.outputs["y"].CopyFrom(tf.make_tensor_proto(2 * x))
        response.outputs["constant"].CopyFrom(tf.make_tensor_proto([[1.0, 2.0]]))
        response.outputs["rows"].CopyFrom(tf.make_tensor_proto(np.int64(len(x))))
        if request.model_spec.signature_name == "calm":
            del response.outputs["rows"]
        return response

    def GetModelMetadata(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        if not self.tells_metadata:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name in ("serving_default", "calm"):
            signature = signatures.signature_def[name]
            for tensors, key in ((signature.inputs, "x"), (signature.outputs, "y")):
                tensors[key].dtype = self.dtype.as_datatype_enum
                tensors[key].tensor_shape.dim.add().size = -1
            signature.inputs["scale"].dtype = tf.float32.as_datatype_enum
            signature.defaults["scale"].CopyFrom(tf.make_tensor_proto(2.0))
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)
        response.metadata["signature_def"].Pack(signatures)
        return response

    def Classify(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        response = classification_pb2.ClassificationResponse()
        for example in request.input.example_list.examples:
            x = example.features.feature["x"].float_list.value[0]
            row = response.result.classifications.add()
            row.classes.add(label="small", score=1 - x)
            row.classes.add(label="large", score=x)
        return response

    def Regress(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        response = regression_pb2.RegressionResponse()
        for example in request.input.example_list.examples:
            x = example.features.feature["x"].float_list.value[0]
            response.result.regressions.add(value=2 * x)
        return response

    def GetModelStatus(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=3, state=30)
        failed = response.model_version_status.add(version=4, state=50)
        failed.status.error_code = 5
        failed.status.error_message = "no saved_model.pb"
        return response


def _serve(servicer: StockServer) -> tuple[grpc.Server, int]:
    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


@pytest.fixture(scope="session")
def _stock_running() -> Iterator[tuple[StockServer, str]]:
    servicer = StockServer()
    server, port = _serve(servicer)
    yield servicer, f"127.0.0.1:{port}"
    server.stop(0)


@pytest.fixture
def stock(_stock_running: tuple[StockServer, str]) -> StockServer:
    servicer, _ = _stock_running
    servicer.reset()
    return servicer


@pytest.fixture
def stock_client(stock: StockServer, _stock_running: tuple[StockServer, str]) -> Iterator[Client]:
    with Client(_stock_running[1]) as client:
        yield client


def _export_kinds(path: Path) -> None:
    """A signature `<dtype>` for each dtype that returns `x` as `y`; `two` of two inputs; `classify`
    and `regress`."""
    tf1 = tf.compat.v1
    info, signature = tf1.saved_model.build_tensor_info, tf1.saved_model.build_signature_def
    method = "tensorflow/serving/"
    with tf.Graph().as_default(), tf1.Session() as session:
        signatures = {}
        for name in DTYPES:
            x = tf1.placeholder(NAMES.get(name, name), tf.TensorShape(None), name=name)
            signatures[name] = signature(
                {"x": info(x)}, {"y": info(tf.identity(x))}, f"{method}predict"
            )
        x = tf1.placeholder(tf.float32, [None, 2], name="pairs")
        word = tf1.placeholder(tf.string, [None], name="word")
        signatures["two"] = signature(
            {"x": info(x), "word": info(word)},
            {"doubled": info(2 * x), "word_bytes": info(tf.identity(word))},
            f"{method}predict",
        )
        serialized = tf1.placeholder(tf.string, [None], name="examples")
        parsed = tf.io.parse_example(serialized, {"x": tf.io.FixedLenFeature([], tf.float32, 0.5)})
        labels = tf.tile(tf.constant([[b"low", b"high"]]), [tf.size(parsed["x"]), 1])
        scores = tf.stack([1 - parsed["x"], parsed["x"]], 1)
        signatures["classify"] = signature(
            {"inputs": info(serialized)},
            {"classes": info(labels), "scores": info(scores)},
            f"{method}classify",
        )
        signatures["regress"] = signature(
            {"inputs": info(serialized)}, {"outputs": info(parsed["x"] / 2)}, f"{method}regress"
        )
        builder = tf1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


@dataclass(frozen=True)
class Endpoints:
    """Our server's two ports, with the same models: `taxi` version 7 (label `stable`), `kinds`."""

    grpc: str
    rest: str
    handlers: dict[str, Any]
    core: ServerCore


@pytest.fixture(scope="session")
def endpoints(
    exported: dict[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoints]:
    folder = tmp_path_factory.mktemp("endpoints")
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
    handlers = {**build_handlers(core, health=False), **classify_handlers(core)}
    server, port = start_grpc(handlers, 0, 8, "127.0.0.1")
    rest = start_rest(build_app(core, handlers), 0, "127.0.0.1", threads=4)
    yield Endpoints(f"127.0.0.1:{port}", f"http://127.0.0.1:{rest.port}", handlers, core)
    rest.stop(0)
    server.stop(0).wait()
    core.close()


class Awaited:
    """`AsyncClient` with methods that block, so that one test serves all three clients."""

    def __init__(self, address: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(address, **options)
        self.address = address

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *args, **options: self._runner.run(_awaited(method, args, options))

    def __enter__(self) -> Awaited:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


async def _awaited(method: Callable[..., Any], args: Any, options: Any) -> Any:
    return await method(*args, **options)


@pytest.fixture(params=["grpc", "aio", "rest"])
def connect(request: pytest.FixtureRequest, endpoints: Endpoints) -> Iterator[Callable[..., Any]]:
    """Makes a client of each kind: `connect(check_inputs=False)`."""
    kinds = {"grpc": Client, "aio": Awaited, "rest": RestClient}
    made = []

    def make(**options: Any) -> Any:
        address = endpoints.rest if request.param == "rest" else endpoints.grpc
        made.append(kinds[request.param](address, **options))
        return made[-1]

    yield make
    for client in made:
        client.__exit__(None, None, None)


@pytest.fixture
def any_client(connect: Callable[..., Any]) -> Any:
    return connect()


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, and a server's and a client's certificate that it signed."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    def server_credentials(self, *, mutual: bool) -> grpc.ServerCredentials:
        pair = (self.server_key.read_bytes(), self.server.read_bytes())
        return grpc.ssl_server_credentials([pair], self.authority.read_bytes(), mutual)

    def server_context(self, *, mutual: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.authority))
        context.load_cert_chain(self.server, self.server_key)
        context.verify_mode = ssl.CERT_REQUIRED if mutual else ssl.CERT_NONE
        return context


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("tls")
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("authority", authority_key, None, authority_key)
    files = {"authority": authority.public_bytes(serialization.Encoding.PEM)}
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        signed = _certificate(name, key, authority, authority_key)
        files[name] = signed.public_bytes(serialization.Encoding.PEM)
        files[f"{name}_key"] = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    for name, content in files.items():
        (folder / f"{name}.pem").write_bytes(content)
    return Certificates(**{name: folder / f"{name}.pem" for name in files})


def _certificate(name: str, key: Any, issuer: Any, issuer_key: Any) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("models.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


class Scripted:
    """A TCP server that answers each request with the next script: bytes, then perhaps a close.

    Attributes:
        connections: Connections taken so far.
        requests: What was received, a piece each.
    """

    def __init__(self, *scripts: tuple[bytes, bool]) -> None:
        import socket

        self.connections = 0
        self.requests: list[bytes] = []
        self._scripts = list(scripts)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._scripts:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                while self._scripts:
                    received = connection.recv(1 << 16)
                    if not received:
                        break
                    self.requests.append(received)
                    answer, stays = self._scripts.pop(0)
                    connection.sendall(answer)
                    if not stays:
                        break

    def close(self) -> None:
        import socket

        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def make(*scripts: tuple[bytes, bool]) -> Scripted:
        made.append(Scripted(*scripts))
        return made[-1]

    yield make
    for server in made:
        server.close()
