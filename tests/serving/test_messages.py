"""What a wrong request is told on both fronts, and where TensorFlow Serving's source says it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import Message
from tensorflow.core.example.example_pb2 import Example
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.regression_pb2 import RegressionRequest
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.server import saved_model
from serving.server.calls import Call
from serving.server.classify import classify_handlers
from serving.server.core import ServerCore
from serving.server.grpc_front import start_grpc
from serving.server.h2_front import start_h2
from serving.server.handlers import build_handlers
from serving.server.signatures import Signatures

PREDICTION, MODEL = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
METHODS: dict[type[Message], str] = {
    PredictRequest: PREDICTION + "Predict",
    ClassificationRequest: PREDICTION + "Classify",
    RegressionRequest: PREDICTION + "Regress",
    MultiInferenceRequest: PREDICTION + "MultiInference",
    GetModelMetadataRequest: PREDICTION + "GetModelMetadata",
    GetModelStatusRequest: MODEL + "GetModelStatus",
    ReloadConfigRequest: MODEL + "HandleReloadConfigRequest",
}
X = tf.make_tensor_proto([[1.0, 2.0, 3.0]])
M = {"name": "m"}
DENSE = {"name": "m", "signature_name": "dense"}
ABSENT = {"name": "m", "signature_name": "absent"}


def predict(spec: dict[str, Any], outputs: tuple[str, ...] = (), **inputs: Any) -> PredictRequest:
    return PredictRequest(model_spec=spec, inputs=inputs, output_filter=outputs)


def reload(*models: str) -> ReloadConfigRequest:
    listed = "".join(f"config {{ {model} }} " for model in models)
    return text_format.Parse(
        f"config {{ model_config_list {{ {listed} }} }}", ReloadConfigRequest()
    )


def tasks(*specs: dict[str, Any]) -> MultiInferenceRequest:
    request = MultiInferenceRequest(input={"example_list": {"examples": [Example()]}})
    for spec in specs:
        request.tasks.add(model_spec=spec, method_name="tensorflow/serving/classify")
    return request


# Under tensorflow_serving/: server_core.cc, get_model_status_impl.cc, model_service_impl.cc and
# prediction_service_impl.cc in model_servers, aspired_versions_manager's basic_manager.cc in core,
# the others in servables/tensorflow; but tensorflow/cc/saved_model/util.cc.
WRONG = [
    ("predict_impl.cc", PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    ("server_core.cc", predict({}), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    (
        "basic_manager.cc",
        predict({"name": "none"}),
        "NOT_FOUND",
        "Servable not found for request: Latest(none)",
    ),
    (
        "basic_manager.cc",
        predict({"name": "m", "version": {"value": 9}}),
        "NOT_FOUND",
        "Servable not found for request: Specific(m, 9)",
    ),
    (
        "server_core.cc",
        predict({"name": "m", "version_label": "canary"}),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: canary",
    ),
    (
        "predict_util.cc",
        predict(ABSENT),
        "FAILED_PRECONDITION",
        'Serving signature key "absent" not found.',
    ),
    (
        "predict_util.cc",
        predict(DENSE),
        "INVALID_ARGUMENT",
        "input size does not match signature: 0!=1 len({}) != len({x}). "
        "Sent extra: {}. Missing but required: {x}.",
    ),
    (
        "predict_util.cc",
        predict(DENSE, x=X, z=X),
        "INVALID_ARGUMENT",
        "input size does not match signature: 2!=1 len({x,z}) != len({x}). "
        "Sent extra: {z}. Missing but required: {}.",
    ),
    (
        "saved_model/util.cc",
        predict(DENSE, z=X),
        "INVALID_ARGUMENT",
        "Signature input alias: x(feed name: dense_x:0) not found in request and no default value "
        "provided. Inputs expected to be in the request {z}, or default input alias set: ",
    ),
    (
        "predict_util.cc",
        predict(DENSE, ("none",), x=X),
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: none "
        "Outputs expected to be in the set {text,y}.",
    ),
    (
        "predict_util.cc",
        predict(DENSE, ("y", "y"), x=X),
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: y",
    ),
    (
        "classification_service.cc",
        ClassificationRequest(),
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    ),
    (
        "classifier.cc",
        ClassificationRequest(model_spec=ABSENT),
        "INVALID_ARGUMENT",
        "No signature was found with the name: absent",
    ),
    ("regression_service.cc", RegressionRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    (
        "regressor.cc",
        RegressionRequest(model_spec=ABSENT),
        "INVALID_ARGUMENT",
        "No signature was found with the name: absent",
    ),
    (
        "util.cc",
        ClassificationRequest(model_spec={"name": "m", "signature_name": "classify"}),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
    (
        "server_core.cc",
        MultiInferenceRequest(),
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    ),
    (
        "multi_inference.cc",
        tasks(M | {"signature_name": "classify"}, {"name": "other"}),
        "INVALID_ARGUMENT",
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    ),
    (
        "multi_inference.cc",
        tasks(M | {"signature_name": "classify"}, M | {"signature_name": "classify"}),
        "INVALID_ARGUMENT",
        "Duplicate evaluation of signature: classify",
    ),
    (
        "multi_inference.cc",
        tasks(ABSENT),
        "INVALID_ARGUMENT",
        "Requested signature not found in model graph: absent",
    ),
    (
        "get_model_metadata_impl.cc",
        GetModelMetadataRequest(),
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    ),
    (
        "get_model_metadata_impl.cc",
        GetModelMetadataRequest(model_spec=M),
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    ),
    (  # there: "Metadata field %s is not supportedcost", where printf was meant
        "get_model_metadata_impl.cc",
        GetModelMetadataRequest(model_spec=M, metadata_field=["signature_def", "cost"]),
        "INVALID_ARGUMENT",
        "Metadata field cost is not supported",
    ),
    (
        "basic_manager.cc",
        GetModelMetadataRequest(model_spec={"name": "none"}, metadata_field=["signature_def"]),
        "NOT_FOUND",
        "Servable not found for request: Latest(none)",
    ),
    ("get_model_status_impl.cc", GetModelStatusRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    (
        "get_model_status_impl.cc",
        GetModelStatusRequest(model_spec={"name": "none"}),
        "NOT_FOUND",
        "Could not find any versions of model none",
    ),
    (
        "get_model_status_impl.cc",
        GetModelStatusRequest(model_spec={"name": "m", "version": {"value": 9}}),
        "NOT_FOUND",
        "Could not find version 9 of model m",
    ),
    (
        "model_service_impl.cc",
        ReloadConfigRequest(),
        "INVALID_ARGUMENT",
        "ServerModelConfig type not supported by HandleReloadConfigRequest. "
        "Only ModelConfigList is currently supported",
    ),
    (
        "model_service_impl.cc",
        ReloadConfigRequest(config={"custom_model_config": {}}),
        "INVALID_ARGUMENT",
        "ServerModelConfig type not supported by HandleReloadConfigRequest. "
        "Only ModelConfigList is currently supported",
    ),
    (
        "server_core.cc",
        reload(*["name: 'a' base_path: '/a' model_platform: 'tensorflow'"] * 2),
        "INVALID_ARGUMENT",
        "Illegal to list model a multiple times in config list",
    ),
    (
        "server_core.cc",
        reload("name: 'a' base_path: 'a' model_platform: 'tensorflow'"),
        "INVALID_ARGUMENT",
        "Expected model a to have an absolute path or URI; got base_path()=a",
    ),
    (
        "server_core.cc",
        reload("name: 'a' base_path: '/a'"),
        "INVALID_ARGUMENT",
        "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
        "ModelServerConfig::model_platform.",
    ),
    (
        "server_core.cc",
        reload("name: 'a' base_path: '/a' model_platform: 'other'"),
        "INVALID_ARGUMENT",
        "Model a requests unsupported platform other",
    ),
    (
        "server_core.cc",
        reload("name: 'm' base_path: '/m' model_platform: 'other'"),
        "INVALID_ARGUMENT",
        "Illegal to change a model's platform. For model m platform was tensorflow and new "
        "platform requested is other",
    ),
    (
        "server_core.cc",
        reload(
            "name: 'm' base_path: '/m' model_platform: 'tensorflow' "
            "version_labels { key: 'canary' value: 9 }"
        ),
        "FAILED_PRECONDITION",
        "Request to assign label to version 9 of model m, "
        "which is not currently available for inference",
    ),
]


class Classifying:
    """The model, with a signature that its own `serving_default` could be for Classify."""

    def __init__(self, path: Path) -> None:
        self._model = saved_model.load(path)
        signatures = dict(self._model.signatures)
        info = signatures["serving_default"].inputs["examples"]
        classify = signatures["classify"] = type(signatures["dense"])()
        classify.method_name = "tensorflow/serving/classify"
        classify.inputs["inputs"].CopyFrom(info)
        classify.outputs["scores"].CopyFrom(signatures["serving_default"].outputs["score"])
        self.signatures = Signatures(signatures)
        self.run, self.close = self._model.run, self._model.close


@pytest.fixture(scope="module")
def core(exported: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    base = tmp_path_factory.mktemp("m")
    (base / "4").symlink_to(exported[2])
    core = ServerCore(lambda name, path: Classifying(path))
    config = f"config {{ name: 'm' base_path: '{base}' model_platform: 'tensorflow' }}"
    core.configure(text_format.Parse(f"model_config_list {{ {config} }}", ModelServerConfig()))
    yield core
    core.close()


@pytest.fixture(scope="module", params=["grpcio", "h2"])
def channel(request: pytest.FixtureRequest, core: ServerCore) -> Iterator[grpc.Channel]:
    handlers = {
        **build_handlers(core, health=False, check_method_name=True),
        **classify_handlers(core),
    }
    if request.param == "h2":
        server = start_h2(handlers, port=0, threads=2, address="127.0.0.1")
        port = server.port
    else:
        server, port = start_grpc(handlers, 0, 2, "127.0.0.1")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(0)


def told(channel: grpc.Channel, request: Message) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(METHODS[type(request)])(request.SerializeToString(), timeout=20)
    return caught.value.code().name, caught.value.details()


@pytest.mark.parametrize(
    ("source", "wrong", "code", "message"),
    WRONG,
    ids=[f"{type(row[1]).__name__}-{row[0]}-{number}" for number, row in enumerate(WRONG)],
)
def test_messages(
    channel: grpc.Channel, source: str, wrong: Message, code: str, message: str
) -> None:
    assert told(channel, wrong) == (code, message), source


def test_a_model_that_does_not_load_is_told(
    channel: grpc.Channel, core: ServerCore, tmp_path: Path
) -> None:
    """server_core.cc, WaitUntilModelsAvailable: its `{`, `}` and `, `."""
    kept = f"name: 'm' base_path: '{core.model('m').base_path}' model_platform: 'tensorflow'"
    absent = f"name: 'a' base_path: '{tmp_path}' model_platform: 'tensorflow'"
    message = "1 model(s) did not become available: {{{name: a}}, }"
    assert told(channel, reload(kept, absent)) == ("UNKNOWN", message)
    core.configure(reload(kept).config)


@pytest.mark.parametrize("name", ["", "tensorflow/serving/other"])
def test_predict_checks_the_method_name_where_asked(
    channel: grpc.Channel, core: ServerCore, name: str
) -> None:
    """predict_util.cc, VerifySignature: Predict takes the methods of all three."""
    request = predict(DENSE, x=X).SerializeToString()
    with core.lease("m") as (_, model):
        signature = model.signatures["dense"]
        for accepted in ("predict", "classify", "regress"):
            signature.method_name = f"tensorflow/serving/{accepted}"
            assert channel.unary_unary(METHODS[PredictRequest])(request, timeout=20)
        signature.method_name = name
        message = (
            "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
            f"tensorflow/serving/classify, tensorflow/serving/regress}}. Was: {name}"
        )
        assert told(channel, predict(DENSE, x=X)) == ("INTERNAL", message)
        unchecked = build_handlers(core, health=False)[METHODS[PredictRequest]]
        assert isinstance(unchecked(request, Call()), bytes)
        signature.method_name = "tensorflow/serving/predict"
