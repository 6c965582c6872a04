"""The protocol's methods: request bytes in, response bytes out, whatever carries them.

Codes and messages are those of tensorflow_model_server (predict_util.cc, server_core.cc,
get_model_metadata_impl.cc and get_model_status_impl.cc of tensorflow/serving, and
cc/saved_model/util.cc of tensorflow).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

import numpy as np
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
)
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from serving.server import reload
from serving.server.batching import run_or_batch
from serving.server.calls import Call, Handler
from serving.server.core import ServerCore
from serving.server.health import health_handlers
from serving.server.parsing import lease, parse
from serving.server.saved_model import DEFAULT_SIGNATURE
from serving.server.status import Code, RequestError, invalid_argument
from serving.tensors import to_array, write_tensor

_METHOD_NAMES = tuple(f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress"))


def build_handlers(
    core: ServerCore,
    *,
    health: bool,
    as_tensor_content: bool = False,
    check_method_name: bool = False,
    inline: bool = False,
) -> dict[str, Handler]:
    """Full method name (`/package.Service/Method`) to its handler.

    A handler raises `RequestError` for any answer but OK.

    Args:
        core: The models.
        health: Whether to answer `grpc.health.v1.Health`.
        as_tensor_content: Predict answers numbers as `tensor_content`.
        check_method_name: Predict refuses a signature whose `method_name` is not one of TensorFlow
            Serving's (`--enable_signature_method_name_check`).
        inline: Mark Predict as one that never waits: where models are batched.
    """
    answer_predict = partial(
        predict, core, as_tensor_content=as_tensor_content, check_method_name=check_method_name
    )
    answer_predict.inline = inline  # type: ignore[attr-defined]
    handlers: dict[str, Handler] = {
        "/tensorflow.serving.PredictionService/Predict": answer_predict,
        "/tensorflow.serving.PredictionService/GetModelMetadata": partial(get_model_metadata, core),
        "/tensorflow.serving.ModelService/GetModelStatus": partial(get_model_status, core),
        reload.METHOD: partial(reload.reload_config, core),
    }
    if health:
        handlers.update(health_handlers(core))
    return handlers


def predict(
    core: ServerCore,
    data: bytes,
    call: Call,
    *,
    as_tensor_content: bool = False,
    check_method_name: bool = False,
) -> bytes | Future[bytes]:
    """PredictionService.Predict: runs one signature on the request's tensors."""
    request = parse(PredictRequest, data)
    spec = request.model_spec
    with lease(core, call, request.HasField("model_spec"), spec) as (version, model):
        name = spec.signature_name or DEFAULT_SIGNATURE
        signature = model.signatures.get(name)
        if signature is None:
            raise RequestError(
                Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
            )
        if check_method_name and signature.method_name not in _METHOD_NAMES:
            raise RequestError(
                Code.INTERNAL,
                "Expected prediction signature method_name to be one of "
                f"{{{', '.join(_METHOD_NAMES)}}}. Was: {signature.method_name}",
            )
        inputs = _read_inputs(signature, request.inputs)
        outputs = _select_outputs(signature, request.output_filter)
        respond = partial(_predict_response, spec.name, name, version, as_tensor_content)
        return run_or_batch(model, name, inputs, outputs, call, respond)


def _predict_response(
    model_name: str,
    signature_name: str,
    version: int,
    as_tensor_content: bool,
    outputs: Mapping[str, np.ndarray[Any, Any]],
) -> bytes:
    response = PredictResponse()
    response.model_spec.name = model_name
    response.model_spec.signature_name = signature_name
    response.model_spec.version.value = version
    for alias, array in outputs.items():
        write_tensor(response.outputs[alias], array, as_tensor_content=as_tensor_content)
    return bytes(response.SerializeToString())


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


def _read_inputs(
    signature: SignatureDef, sent: Mapping[str, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    extra, missing = set(sent) - set(signature.inputs), set(signature.inputs) - set(sent)
    too_few = len(sent) < len(signature.inputs) and not signature.defaults
    if len(sent) > len(signature.inputs) or too_few:
        raise _wrong_inputs(signature, sent, extra, missing)
    arrays = {}
    for alias in sorted(signature.inputs):
        if alias not in sent and alias not in signature.defaults:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not "
                "found in request and no default value provided. Inputs expected to be in the "
                f"request {{{_listed(sent)}}}, or default input alias set: "
                f"{_listed(signature.defaults)}"
            )
        try:
            if alias in sent:
                arrays[alias] = to_array(sent[alias], signature.inputs[alias])
            else:
                arrays[alias] = to_array(signature.defaults[alias])
        except ValueError as error:
            raise invalid_argument(f"tensor parsing error: {alias}: {error}") from error
    if extra:
        raise invalid_argument(
            "Inputs contains invalid name. Used request inputs: "
            f"{_listed(set(sent) - extra)}, request input: {_listed(sent)}"
        )
    return arrays


def _wrong_inputs(
    signature: SignatureDef, sent: Mapping[str, Any], extra: set[str], missing: set[str]
) -> RequestError:
    return invalid_argument(
        f"input size does not match signature: {len(sent)}!={len(signature.inputs)} "
        f"len({{{_listed(sent)}}}) != len({{{_listed(signature.inputs)}}}). "
        f"Sent extra: {{{_listed(extra)}}}. Missing but required: {{{_listed(missing)}}}."
    )


def _select_outputs(signature: SignatureDef, output_filter: Iterable[str]) -> list[str]:
    chosen: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {{{_listed(signature.outputs)}}}."
            )
        if alias in chosen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return chosen or sorted(signature.outputs)


def _listed(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
