"""The whole server from its flags: both ports, both gRPC fronts, TLS, a socket, lists of models."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.wrappers_pb2 import Int32Value
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.client import Client, RequestFailed
from serving.server.options import ServerOptions, parse_flags
from serving.server.running import RunningServer, start
from tests.serving.certificates import self_signed
from tfx_pipeline.errors import ConfigError, ServingError

X = {"x": np.ones((1, 3), np.float32)}
Push = Callable[..., Path]
FRONTS = ["grpcio", "h2"]


def options(*flags: str) -> ServerOptions:
    return parse_flags(["--port=0", "--bind_address=127.0.0.1", *flags])[0]


@dataclass(frozen=True)
class Whole:
    """A running server with everything switched on."""

    running: RunningServer
    socket_path: Path

    def get(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.running.rest_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module", params=FRONTS)
def whole(
    request: pytest.FixtureRequest,
    exported: dict[int, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "models" / "m").mkdir(parents=True)
    (folder / "models" / "m" / "4").symlink_to(exported[2])
    monitoring = folder / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true path: '/metrics' }")
    chosen = options(
        f"--grpc_front={request.param}",
        "--model_name=m",
        f"--model_base_path={folder / 'models' / 'm'}",
        "--rest_api_port=-1",
        f"--monitoring_config_file={monitoring}",
        f"--grpc_socket_path={folder / 'grpc.sock'}",
        "--enable_grpc_healthcheck_service",
        "--enable_profiler",
    )
    with start(chosen) as running:
        yield Whole(running, folder / "grpc.sock")


def test_grpc_rest_and_socket_answer_alike(whole: Whole) -> None:
    for address in (f"127.0.0.1:{whole.running.port}", f"unix:{whole.socket_path}"):
        with Client(address) as client:
            assert client.predict("m", X, signature_name="dense")["y"].item() == 6.0
    body = json.dumps({"signature_name": "dense", "inputs": {"x": [[1.0, 1.0, 1.0]]}}).encode()
    url = f"http://127.0.0.1:{whole.running.rest_port}/v1/models/m:predict"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as response:
        assert json.load(response)["outputs"]["y"] == [[6.0]]


def test_probes_models_and_metrics(whole: Whole) -> None:
    assert whole.get("/healthz")[0] == whole.get("/readyz")[0] == 200
    [model] = json.loads(whole.get("/v1/models")[1])["models"]
    assert model["name"] == "m"
    with Client(f"127.0.0.1:{whole.running.port}", check_inputs=False) as client:
        client.predict("m", X, signature_name="dense")
        with pytest.raises(RequestFailed):
            client.predict("none", X)
    text = whole.get("/metrics")[1]
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"}' in text
    assert ':tensorflow:serving:request_count{model_name="none",status="NOT_FOUND"}' in text
    assert ':tensorflow:serving:runtime_latency_count{model_name="m"' in text
    assert ":tensorflow:cc:saved_model:load_attempt_count" in text


def test_reflection_lists_the_services(whole: Whole) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{whole.running.port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.ModelService",
            "grpc.health.v1.Health",
            "tensorflow.ProfilerService",
        } <= set(database.get_services())
        file = database.FindFileContainingSymbol("tensorflow.serving.PredictRequest")
        assert file.name == "tensorflow_serving/apis/predict.proto"


@pytest.mark.parametrize("front", FRONTS)
def test_who_watches_health_is_told_of_the_end_and_does_not_delay_it(
    exported: dict[int, Path], tmp_path: Path, front: str
) -> None:
    (tmp_path / "1").symlink_to(exported[2])
    running = start(
        options(
            f"--grpc_front={front}",
            f"--model_base_path={tmp_path}",
            "--enable_grpc_healthcheck_service",
        )
    )
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        told = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=60)
        assert Int32Value.FromString(next(told)).value == 1  # SERVING
        stopping = threading.Thread(target=running.stop, args=(600.0,))
        stopping.start()
        assert Int32Value.FromString(next(told)).value == 2  # NOT_SERVING
        with pytest.raises(grpc.RpcError):
            next(told)
        assert told.code() is grpc.StatusCode.CANCELLED
        stopping.join(30)
        assert not stopping.is_alive()


def test_reload_by_the_stock_stub(whole: Whole, exported: dict[int, Path], tmp_path: Path) -> None:
    (tmp_path / "1").symlink_to(exported[3])
    [before] = whole.running.core.names()
    base_path = whole.running.core.model(before).base_path
    listed = "".join(
        f"config {{ name: '{name}' base_path: '{path}' model_platform: 'tensorflow' }}"
        for name, path in ((before, base_path), ("other", tmp_path))
    )
    with grpc.insecure_channel(f"127.0.0.1:{whole.running.port}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        text = f"config {{ model_config_list {{ {listed} }} }}"
        reload = text_format.Parse(text, ReloadConfigRequest())
        assert stub.HandleReloadConfigRequest(reload, timeout=30).status.error_code == 0
        with pytest.raises(grpc.RpcError) as caught:
            stub.HandleReloadConfigRequest(ReloadConfigRequest(), timeout=30)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "Only ModelConfigList is currently supported" in caught.value.details()
    with Client(f"127.0.0.1:{whole.running.port}") as client:
        assert client.predict("other", X, signature_name="dense")["y"].item() == 9.0
        assert client.predict("m", X, signature_name="dense")["y"].item() == 6.0


@pytest.mark.parametrize("front", FRONTS)
def test_a_list_of_models_is_watched(tmp_path: Path, push: Push, front: str) -> None:
    push(tmp_path / "a", 1, scale=2)
    push(tmp_path / "b", 1, scale=3)
    file = tmp_path / "models.config"

    def write(*names: str) -> None:
        listed = "".join(
            f"config {{ name: '{n}' base_path: '{tmp_path / n}' model_platform: 'tensorflow' }}"
            for n in names
        )
        beside = tmp_path / "beside"
        beside.write_text(f"model_config_list {{ {listed} }}")
        beside.rename(file)

    write("a")
    chosen = options(
        f"--model_config_file={file}",
        "--model_config_file_poll_wait_seconds=1",
        f"--grpc_front={front}",
    )
    with start(chosen) as running, Client(f"127.0.0.1:{running.port}") as client:
        assert client.predict("a", X, signature_name="dense")["y"].item() == 6.0
        write("a", "b")
        client.wait_ready("b", 20)
        assert client.predict("b", X, signature_name="dense")["y"].item() == 9.0
        file.write_text("model_config_list { broken")
        assert client.predict("a", X, signature_name="dense")["y"].item() == 6.0


@pytest.mark.parametrize("front", FRONTS)
def test_batched_and_as_tensor_content(tmp_path: Path, push: Push, front: str) -> None:
    push(tmp_path / "m", 1)
    parameters = tmp_path / "batching.config"
    parameters.write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 100000 }")
    chosen = options(
        f"--grpc_front={front}",
        "--model_name=m",
        f"--model_base_path={tmp_path / 'm'}",
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
        "--enable_serialization_as_tensor_content",
    )
    with start(chosen) as running, grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = PredictRequest(model_spec={"name": "m", "signature_name": "dense"})
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((2, 3), np.float32)))
        answers = [stub.Predict.future(request, timeout=30) for _ in range(8)]
        for answer in answers:
            tensor = answer.result().outputs["y"]
            assert tensor.tensor_content
            assert tf.make_ndarray(tensor).tolist() == [[6.0], [6.0]]
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((9, 3), np.float32)))
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request, timeout=30)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "Task size 9 is larger than maximum input batch size 8" in caught.value.details()


def test_requests_are_logged_as_the_list_of_models_says(tmp_path: Path, push: Push) -> None:
    push(tmp_path / "m", 1)
    file = tmp_path / "models.config"
    logging = f"log_collector_config {{ type: '' filename_prefix: '{tmp_path / 'requests'}' }}"
    file.write_text(
        f"model_config_list {{ config {{ name: 'm' base_path: '{tmp_path / 'm'}' model_platform: "
        f"'tensorflow' logging_config {{ {logging} sampling_config {{ sampling_rate: 1 }} }} }} }}"
    )
    with (
        start(options(f"--model_config_file={file}")) as running,
        Client(f"127.0.0.1:{running.port}") as client,
    ):
        for _ in range(3):
            client.predict("m", X, signature_name="dense")
    files = [str(path) for path in tmp_path.glob("requests*")]
    logs = [PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(files)]
    assert len(logs) == 3
    assert {log.log_metadata.model_spec.name for log in logs} == {"m"}
    assert tf.make_ndarray(logs[0].predict_log.response.outputs["y"]).item() == 6.0


@pytest.fixture(scope="module")
def ssl_config(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """An SSLConfig for localhost, and the certificate to trust."""
    folder = tmp_path_factory.mktemp("ssl")
    key, cert = self_signed()
    config = folder / "ssl.config"
    parts = {"server_key": key, "server_cert": cert}
    config.write_text("".join(f"{name}: {json.dumps(pem)}\n" for name, pem in parts.items()))
    return config, cert.encode()


@pytest.mark.parametrize("front", FRONTS)
def test_tls(tmp_path: Path, push: Push, ssl_config: tuple[Path, bytes], front: str) -> None:
    push(tmp_path, 1)
    file, trusted = ssl_config
    chosen = options(
        "--model_name=m",
        f"--model_base_path={tmp_path}",
        f"--ssl_config_file={file}",
        f"--grpc_front={front}",
    )
    with start(chosen) as running:
        address = f"localhost:{running.port}"
        with grpc.secure_channel(address, grpc.ssl_channel_credentials(trusted)) as channel:
            services = ProtoReflectionDescriptorDatabase(channel).get_services()
            assert "tensorflow.serving.PredictionService" in services
        with Client(address, timeout_s=5) as plain, pytest.raises(RequestFailed):
            plain.status("m")


@pytest.mark.parametrize(
    ("flags", "error", "says"),
    [
        (["--model_config_file={missing}"], ConfigError, "cannot be read: No such file"),
        (["--model_config_file={broken}"], ConfigError, "Invalid protobuf file"),
        (["--model_config_file={twice}"], ConfigError, "Illegal to list model m multiple times"),
        (
            ["--model_base_path=/m", "--ssl_config_file={empty}"],
            ConfigError,
            "SSLConfig needs server_key and server_cert",
        ),
        (
            ["--model_base_path=/m", "--tensorflow_session_config_file={broken}"],
            ConfigError,
            "Invalid protobuf file",
        ),
        (
            ["--model_base_path=/m", "--grpc_channel_arguments=grpc.max_connection_age_ms"],
            ConfigError,
            "is no KEY=VALUE",
        ),
        (["--model_base_path=/m", "--rest_api_port={taken}"], ServingError, "{taken}"),
    ],
)
def test_a_start_that_cannot_be_says_why(
    tmp_path: Path, flags: list[str], error: type[Exception], says: str
) -> None:
    one = "config { name: 'm' base_path: '/m' model_platform: 'tensorflow' }"
    (tmp_path / "twice").write_text(f"model_config_list {{ {one} {one} }}")
    (tmp_path / "broken").write_text("model_config_list {\n  broken")
    (tmp_path / "empty").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        names = {name: str(tmp_path / name) for name in ("missing", "twice", "broken", "empty")}
        names["taken"] = str(taken.getsockname()[1])
        with pytest.raises(error) as caught:
            start(options(*(flag.format(**names) for flag in flags)))
    assert says.format(**names) in str(caught.value)
