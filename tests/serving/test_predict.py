"""Predict, metadata, status and health over real sockets, with our client and the stock stubs."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client import Client, RequestFailed, TensorInfo, VersionStatus
from serving.server import saved_model

PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module")
def channel(address: str):
    with grpc.insecure_channel(address) as channel:
        yield channel


def test_rows_as_dicts(client: Client) -> None:
    rows = [
        {"fare": 10, "miles": 1.5, "hour": 3, "company": "Blue"},
        {"fare": None, "miles": float("nan"), "company": ""},
    ]
    outputs = client.predict("taxi", rows, kinds={"fare": "float"})
    assert outputs["score"].tolist() == [[21.5], [-3.0]]
    assert outputs["hour"].tolist() == [3, -1]
    assert outputs["company"].tolist() == [b"Blue", b"none"]


def test_tensors_and_several_outputs(client: Client) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    outputs = client.predict("taxi", {"x": x}, signature_name="dense", version=7)
    np.testing.assert_allclose(outputs["y"], [[6.0], [24.0]])
    assert outputs["text"][1, 2] == b"5.000000"
    assert outputs["y"].dtype == np.float32


def test_lists_become_what_models_take(client: Client) -> None:
    outputs = client.predict("taxi", {"x": [[1.0, 2.0, 3.0]]}, signature_name="dense")
    assert outputs["y"].tolist() == [[12.0]]


def test_scalars_keep_shape_and_trailing_zero_bytes(client: Client) -> None:
    outputs = client.predict("taxi", {"word": b"a\0", "numbers": [1, 2]}, signature_name="scalars")
    assert outputs["echo"].shape == ()
    assert outputs["echo"].item() == b"a\0\0"
    assert outputs["total"].item() == 3


def test_large_tensor_goes_through(client: Client) -> None:
    x = np.ones((400_000, 3), np.float32)  # 4.8 MB: above gRPC's default limit of 4 MB
    assert client.predict("taxi", {"x": x}, signature_name="dense")["y"].sum() == 2_400_000


def test_stock_stubs(channel: grpc.Channel) -> None:
    """A client written for TensorFlow Serving, which reads `float_val` directly as many do."""
    import tensorflow as tf

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "taxi"
    request.model_spec.signature_name = "dense"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]))
    request.output_filter.append("y")
    response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, 5)
    assert list(response.outputs["y"].float_val) == [12.0, 2.0]
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["y"]), [[12.0], [2.0]])
    assert list(response.outputs) == ["y"]
    assert response.model_spec.version.value == 7
    assert response.model_spec.signature_name == "dense"


def test_stock_stubs_ask_status_and_metadata(channel: grpc.Channel) -> None:
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "taxi"
    answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, 5)
    assert answer.model_version_status[0].state == 30
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "taxi"
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    metadata = stub.GetModelMetadata(request, 5)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert metadata.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["dense"].method_name == "tensorflow/serving/predict"


def test_client_reads_status_and_metadata(client: Client) -> None:
    assert client.status("taxi") == [VersionStatus(7, "AVAILABLE")]
    signature = client.metadata("taxi")["dense"]
    assert signature.inputs == {"x": TensorInfo("float", (None, 3))}
    assert signature.outputs["y"] == TensorInfo("float", (None, 1))


def test_health(channel: grpc.Channel) -> None:
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    answer = check(StringValue(value="").SerializeToString(), timeout=5)
    assert Int32Value.FromString(answer).value == 1  # SERVING
    with pytest.raises(grpc.RpcError) as caught:
        check(StringValue(value="other").SerializeToString(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


ROW = {"x": np.ones((1, 3), np.float32)}
ERRORS = [
    (("absent", ROW, {}), "NOT_FOUND", "Servable not found for request: Latest(absent)"),
    (
        ("taxi", ROW, {"version": 8}),
        "NOT_FOUND",
        "Servable not found for request: Specific(taxi, 8)",
    ),
    (("", ROW, {}), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    (
        ("taxi", ROW, {"signature_name": "nope"}),
        "FAILED_PRECONDITION",
        'Serving signature key "nope" not found.',
    ),
    (
        ("taxi", {}, {"signature_name": "scalars"}),
        "INVALID_ARGUMENT",
        "input size does not match signature: 0!=2 len({}) != len({numbers,word}). "
        "Sent extra: {}. Missing but required: {numbers,word}.",
    ),
    (
        ("taxi", {**ROW, "z": [1]}, {"signature_name": "dense"}),
        "INVALID_ARGUMENT",
        "input size does not match signature: 2!=1 len({x,z}) != len({x}). "
        "Sent extra: {z}. Missing but required: {}.",
    ),
    (
        ("taxi", {"z": [1]}, {"signature_name": "dense"}),
        "INVALID_ARGUMENT",
        "Signature input alias: x(feed name: dense_x:0) not found in request and no default value "
        "provided. Inputs expected to be in the request {z}, or default input alias set: ",
    ),
    (
        ("taxi", {"x": np.ones((1, 3), np.int32)}, {"signature_name": "dense"}),
        "INVALID_ARGUMENT",
        "Expects arg[0] to be float but int32 is provided",
    ),
    (
        ("taxi", {"x": np.ones((1, 4), np.float32)}, {"signature_name": "dense"}),
        "INVALID_ARGUMENT",
        "Matrix size-incompatible: In[0]: [1,4], In[1]: [3,1]",
    ),
    (
        ("taxi", [b"no example"], {}),
        "INVALID_ARGUMENT",
        "Could not parse example input, value: 'no example'",
    ),
    (
        ("taxi", [{"fare": 3}], {}),
        "INVALID_ARGUMENT",
        "Name: <unknown>, Key: fare, Index: 0.  Data types don't match.",
    ),
]


@pytest.mark.parametrize(("call", "code", "message"), ERRORS)
def test_error_codes_and_messages(address: str, call: tuple, code: str, message: str) -> None:
    model, rows, options = call
    with Client(address, check_inputs=False) as client, pytest.raises(RequestFailed) as caught:
        client.predict(model, rows, **options)
    assert caught.value.code == code
    assert caught.value.message.startswith(message)
    assert caught.value.where == client.address
    assert caught.value.hint


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            ["q"],
            "output tensor alias not found in signature: q "
            "Outputs expected to be in the set {text,y}.",
        ),
        (["y", "y"], "duplicate output tensor alias: y"),
    ],
)
def test_output_filter_errors(channel: grpc.Channel, outputs: list[str], message: str) -> None:
    import tensorflow as tf

    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name = "taxi"
    request.model_spec.signature_name = "dense"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0, 2.0, 3.0]]))
    _refused(channel, PREDICT, request.SerializeToString(), "INVALID_ARGUMENT", message)


def _refused(channel: grpc.Channel, method: str, data: bytes, code: str, message: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(data, timeout=5)
    assert (caught.value.code().name, caught.value.details()) == (code, message)


def test_raw_requests_that_are_wrong(channel: grpc.Channel) -> None:
    malformed = "the request is no valid tensorflow.serving.PredictRequest message"
    _refused(channel, PREDICT, b"\xff\xff\xff", "INVALID_ARGUMENT", malformed)
    _refused(channel, PREDICT, b"", "INVALID_ARGUMENT", "Missing ModelSpec")
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "taxi"
    request.model_spec.version_label = "canary"
    _refused(
        channel,
        PREDICT,
        request.SerializeToString(),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: canary",
    )
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/tensorflow.serving.PredictionService/Nothing")(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "damage",
    [
        {"dtype": 99},
        {"dtype": 1, "tensor_content": b"123"},
        {"dtype": 1, "sizes": [-1]},
        {"dtype": 1, "sizes": [1 << 40], "float_val": [1.0]},
        {"dtype": 1, "sizes": [1 << 20, 1 << 5], "float_val": [1.0]},
        {"dtype": 1, "sizes": [2, 4], "float_val": [1.0]},
        {"dtype": 2, "sizes": [2, 3], "double_val": [1.0]},
        {"dtype": 7, "sizes": [3], "tensor_content": b"\xff\xff\xff"},
    ],
)
def test_damaged_tensors(channel: grpc.Channel, damage: dict) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "taxi"
    request.model_spec.signature_name = "dense"
    tensor = request.inputs["x"]
    for size in damage.pop("sizes", [1]):
        tensor.tensor_shape.dim.add().size = size
    for name, value in damage.items():
        if isinstance(value, list):
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("tensor parsing error: x")


def test_a_filled_tensor_reaches_the_model(channel: grpc.Channel) -> None:
    request = predict_pb2.PredictRequest(model_spec={"name": "taxi", "signature_name": "dense"})
    request.inputs["x"].dtype = 1
    for size in (2, 3):
        request.inputs["x"].tensor_shape.dim.add(size=size)
    request.inputs["x"].float_val.append(1.5)
    response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, 5)
    assert list(response.outputs["y"].float_val) == [9.0, 9.0]


def test_status_and_metadata_errors(client: Client, channel: grpc.Channel) -> None:
    with pytest.raises(RequestFailed, match="Could not find any versions of model absent"):
        client.status("absent")
    with pytest.raises(RequestFailed, match="Could not find version 8 of model taxi"):
        client.status("taxi", version=8)
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "taxi"
    _refused(
        channel,
        "/tensorflow.serving.PredictionService/GetModelMetadata",
        request.SerializeToString(),
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    )


def test_nobody_listens() -> None:
    with Client("127.0.0.1:1", timeout_s=2) as client, pytest.raises(RequestFailed) as caught:
        client.predict("taxi", [{"fare": 1.0}])
    assert caught.value.code == "UNAVAILABLE"
    assert "assay serve" in caught.value.hint
    assert "--port 1" in caught.value.hint
    assert caught.value.exit_code == 10


def test_deadline(client: Client) -> None:
    with Client(client.address, timeout_s=0.2) as hurried, pytest.raises(RequestFailed) as caught:
        hurried.predict("taxi", {"steps": np.int64(300_000)}, signature_name="slow")
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert "0.2 s" in caught.value.hint


def test_cached_callable_equals_session_run(exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins the private `Session._make_callable_from_options`, and its public fallback."""
    import tensorflow as tf

    x = np.arange(3, dtype=np.float32).reshape(1, 3)
    assert hasattr(tf.compat.v1.Session, "_make_callable_from_options")
    results = []
    for private in (True, False):
        if not private:
            monkeypatch.setattr(tf.compat.v1.Session, "_make_callable_from_options", None)
        model = saved_model.load(exported[2])
        results.append(model.run("dense", {"x": x}, ["text", "y"]))
        model.close()
    assert results[0]["y"].tolist() == results[1]["y"].tolist() == [[6.0]]
    assert results[0]["text"].tolist() == results[1]["text"].tolist()
