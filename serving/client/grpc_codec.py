"""Operations to the messages of TensorFlow Serving's gRPC services, and their answers back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from serving.client import messages, operations
from serving.client.errors import request_failed
from serving.client.model_types import ClassScore, Signature, TensorInfo, VersionStatus
from serving.tensors import DTYPE_NAMES, to_array, write_tensor
from tfx_pipeline.errors import DataError


@dataclass(frozen=True)
class GrpcCall:
    """One unary call.

    Attributes:
        method: `/package.Service/Method`.
        request: The request, serialized.
        read: The response's bytes to the operation's answer.
    """

    method: str
    request: bytes
    read: Callable[[bytes], Any]


def encode(operation: operations.Operation) -> GrpcCall:
    """The call that does an operation.

    Raises:
        DataError: An Example or an array cannot be sent.
        RequestFailed: UNIMPLEMENTED for `ListModels`: the gRPC services have no such method.
    """
    match operation:
        case operations.Predict(model, signature_name, inputs):
            request = messages.PredictRequest()
            request.model_spec.signature_name = signature_name
            for name, array in inputs.items():
                _write(name, request.inputs[name], array)
            return _call("PredictionService/Predict", request, model, _read_predict)
        case operations.Classify(model, signature_name, examples):
            request = messages.ClassificationRequest()
            _write_examples(request, signature_name, examples)
            return _call("PredictionService/Classify", request, model, _read_classify)
        case operations.Regress(model, signature_name, examples):
            request = messages.RegressionRequest()
            _write_examples(request, signature_name, examples)
            return _call("PredictionService/Regress", request, model, _read_regress)
        case operations.GetStatus(model):
            request = messages.GetModelStatusRequest()
            return _call("ModelService/GetModelStatus", request, model, _read_status)
        case operations.GetMetadata(model):
            request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
            return _call("PredictionService/GetModelMetadata", request, model, _read_metadata)
        case operations.ListModels():
            raise request_failed(
                "UNIMPLEMENTED",
                "TensorFlow Serving's gRPC services list no models",
                where="",
                hint="Ask for a model by its name, or our server's REST port for the list.",
            )


def _call(
    method: str, request: Any, model: operations.Model, read: Callable[[bytes], Any]
) -> GrpcCall:
    spec = request.model_spec
    spec.name = model.name
    if model.version is not None:
        spec.version.value = model.version
    elif model.label:
        spec.version_label = model.label
    return GrpcCall(f"/tensorflow.serving.{method}", request.SerializeToString(), read)


def _write(name: str, proto: Any, array: np.ndarray[Any, Any]) -> None:
    try:
        write_tensor(proto, array, as_tensor_content=True)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"input {name} cannot be sent: {error}",
            where=f"input {name}",
            hint="Give numbers, texts or bytes.",
        ) from error


def _write_examples(request: Any, signature_name: str, examples: Sequence[bytes]) -> None:
    request.model_spec.signature_name = signature_name
    written = request.input.example_list.examples
    for number, example in enumerate(examples, start=1):
        try:
            written.add().MergeFromString(example)
        except DecodeError as error:
            raise DataError(
                "the bytes are no tf.Example",
                where=f"row {number}",
                hint="Give tf.train.Example(...).SerializeToString(), or rows as dicts.",
            ) from error


def _read_predict(data: bytes) -> operations.Arrays:
    outputs = messages.PredictResponse.FromString(data).outputs
    return {name: to_array(outputs[name]) for name in sorted(outputs)}


def _read_classify(data: bytes) -> list[list[ClassScore]]:
    result = messages.ClassificationResponse.FromString(data).result
    return [
        [ClassScore(entry.label, entry.score) for entry in row.classes]
        for row in result.classifications
    ]


def _read_regress(data: bytes) -> np.ndarray[Any, Any]:
    regressions = messages.RegressionResponse.FromString(data).result.regressions
    return np.fromiter((entry.value for entry in regressions), np.float32, len(regressions))


def _read_status(data: bytes) -> list[VersionStatus]:
    response = messages.GetModelStatusResponse.FromString(data)
    states = response.DESCRIPTOR.file.message_types_by_name["ModelVersionStatus"].enum_types[0]
    return [
        VersionStatus(
            entry.version,
            # A number that this protocol has no name for is shown as it is.
            getattr(states.values_by_number.get(entry.state), "name", str(entry.state)),
            entry.status.error_message,
        )
        for entry in response.model_version_status
    ]


def _read_metadata(data: bytes) -> dict[str, Signature]:
    response = messages.GetModelMetadataResponse.FromString(data)
    signatures = messages.SignatureDefMap.FromString(response.metadata["signature_def"].value)
    return {
        key: Signature(
            _tensor_infos(definition.inputs),
            _tensor_infos(definition.outputs),
            frozenset(definition.defaults),
        )
        for key, definition in signatures.signature_def.items()
    }


def _tensor_infos(tensors: Mapping[str, Any]) -> dict[str, TensorInfo]:
    return {name: _tensor_info(tensor) for name, tensor in sorted(tensors.items())}


def _tensor_info(tensor: Any) -> TensorInfo:
    shape = tensor.tensor_shape
    sizes = tuple(dim.size if dim.size >= 0 else None for dim in shape.dim)
    name = DTYPE_NAMES.get(tensor.dtype, f"DataType {tensor.dtype}")
    return TensorInfo(name, None if shape.unknown_rank else sizes)
