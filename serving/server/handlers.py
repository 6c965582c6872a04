"""The protocol's methods: request bytes in, response bytes out, whatever carries them.

Codes and messages are those of tensorflow_model_server (predict_util.cc, server_core.cc,
get_model_metadata_impl.cc and get_model_status_impl.cc of tensorflow/serving, and
cc/saved_model/util.cc of tensorflow).
"""

from __future__ import annotations

from functools import partial

from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
)

from serving.server import reload
from serving.server.calls import Call, Handler
from serving.server.core import ServerCore
from serving.server.health import health_handlers
from serving.server.parsing import lease, parse
from serving.server.predict import predict
from serving.server.status import invalid_argument


def build_handlers(
    core: ServerCore,
    *,
    health: bool,
    as_tensor_content: bool = False,
    check_method_name: bool = False,
) -> dict[str, Handler]:
    """Full method name (`/package.Service/Method`) to its handler.

    A handler raises `RequestError` for any answer but OK.

    Args:
        core: The models.
        health: Whether to answer `grpc.health.v1.Health`.
        as_tensor_content: Predict answers numbers as `tensor_content`.
        check_method_name: Predict refuses a signature whose `method_name` is not one of TensorFlow
            Serving's (`--enable_signature_method_name_check`).
    """
    answer_predict = partial(
        predict, core, as_tensor_content=as_tensor_content, check_method_name=check_method_name
    )
    answer_status = partial(get_model_status, core)
    answer_predict.inline = answer_status.inline = True  # type: ignore[attr-defined]
    handlers: dict[str, Handler] = {
        "/tensorflow.serving.PredictionService/Predict": answer_predict,
        "/tensorflow.serving.PredictionService/GetModelMetadata": partial(get_model_metadata, core),
        "/tensorflow.serving.ModelService/GetModelStatus": answer_status,
        reload.METHOD: partial(reload.reload_config, core),
    }
    if health:
        handlers.update(health_handlers(core))
    return handlers


def get_model_metadata(core: ServerCore, data: bytes, call: Call) -> bytes:
    """PredictionService.GetModelMetadata: the signatures of a model."""
    request = parse(GetModelMetadataRequest, data)
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != "signature_def":
            raise invalid_argument(f"Metadata field {field} is not supported")
    signatures = SignatureDefMap()
    with lease(core, call, True, request.model_spec) as (version, model):
        for key, signature in model.signatures.items():
            signatures.signature_def[key].CopyFrom(signature)
    response = GetModelMetadataResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = version
    response.metadata["signature_def"].Pack(signatures)
    return bytes(response.SerializeToString())


def get_model_status(core: ServerCore, data: bytes, call: Call) -> bytes:
    """ModelService.GetModelStatus: the state of one version, or of every version seen."""
    request = parse(GetModelStatusRequest, data)
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    spec = request.model_spec
    version = spec.version.value if spec.HasField("version") else None
    statuses = core.statuses(spec.name, version, spec.version_label)
    response = GetModelStatusResponse()
    for version, status in statuses.items():
        entry = response.model_version_status.add(version=version, state=int(status.state))
        entry.status.error_code = status.code
        entry.status.error_message = status.message
    return bytes(response.SerializeToString())
