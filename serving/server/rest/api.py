"""The REST operations: JSON to the messages of the gRPC handlers, and their answers to JSON.

Every request goes through the handler that gRPC uses, so counting, batching and logging are in one
place. Codes and messages are those of http_rest_api_handler.cc of tensorflow/serving.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
)
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
from tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse

from serving.server.answers import Answer
from serving.server.calls import Call, Handler
from serving.server.core import ServerCore
from serving.server.rest.example_json import read_examples
from serving.server.rest.parsing import parse_object, signature_name
from serving.server.rest.paths import Request, Target
from serving.server.rest.predict_json import read_tensors
from serving.server.rest.writing import (
    classifications_json,
    columns_json,
    regressions_json,
    rows_json,
)
from serving.server.saved_model import DEFAULT_SIGNATURE
from serving.server.status import Code, RequestError, invalid_argument
from serving.tensors import to_array, write_tensor

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"

Pending: TypeAlias = "tuple[bytes | Answer[bytes], Callable[[bytes], bytes]]"
"""A handler's answer, or a future of it, and what makes JSON of it."""


class RestApi:
    """The operations on models. May be called from many threads at once."""

    def __init__(self, core: ServerCore, handlers: Mapping[str, Handler]) -> None:
        self._core = core
        self._handlers = handlers

    def begin(self, request: Request, body: bytes, call: Call) -> Pending:
        """Starts one operation.

        Args:
            request: What is asked for.
            body: The request's body; only predict, classify and regress look at it.
            call: Passed on to the handler.

        Raises:
            RequestError: The request cannot be answered.
        """
        target = request.target
        try:
            match request.operation:
                case "predict":
                    return self._predict(target, body, call)
                case "classify":
                    return self._classify(target, body, call)
                case "regress":
                    return self._regress(target, body, call)
                case "metadata":
                    return self._metadata(target, call)
                case "status":
                    return self._status(target, call)
                case _:
                    return b"", lambda _: self.list_models()
        except UnicodeEncodeError:  # a lone surrogate in a name: no message can hold it
            raise invalid_argument(
                "JSON Parse error: The surrogate pair in string is invalid."
            ) from None

    def list_models(self) -> bytes:
        """Every model with its versions, their states and labels, as JSON."""
        models = [
            {
                "name": name,
                **self._status_fields(name),
                "version_labels": {
                    label: str(version) for label, version in self._core.labels(name).items()
                },
            }
            for name in self._core.names()
        ]
        return _dump({"models": models})

    def unavailable(self) -> list[dict[str, Any]]:
        """The models that have no version to answer with, each with the state of its versions."""
        models = [{"name": name, **self._status_fields(name)} for name in self._core.names()]
        return [
            model
            for model in models
            if all(version["state"] != "AVAILABLE" for version in model["model_version_status"])
        ]

    def _status_fields(self, name: str) -> dict[str, Any]:
        """The fields of a model's GetModelStatusResponse; no versions where there are none yet."""
        try:
            statuses = self._core.statuses(name)
        except RequestError:
            statuses = {}
        response = GetModelStatusResponse()
        for version, status in statuses.items():
            entry = response.model_version_status.add(version=version, state=int(status.state))
            entry.status.error_code = status.code
            entry.status.error_message = status.message
        return _fields(response)

    def _predict(self, target: Target, body: bytes, call: Call) -> Pending:
        document = parse_object(body)
        signature = signature_name(document)
        arrays, in_rows = read_tensors(document, signature, self._inputs(target, signature))
        request = PredictRequest()
        target.fill(request.model_spec)
        request.model_spec.signature_name = signature
        for name, array in arrays.items():
            write_tensor(request.inputs[name], array, as_tensor_content=array.dtype.kind != "O")

        def finish(data: bytes) -> bytes:
            response = PredictResponse.FromString(data)
            outputs = {name: to_array(proto) for name, proto in response.outputs.items()}
            return rows_json(outputs) if in_rows else columns_json(outputs)

        return self._call(_PREDICTION + "Predict", request, call), finish

    def _classify(self, target: Target, body: bytes, call: Call) -> Pending:
        request = ClassificationRequest()
        _fill_examples(request, target, body)

        def finish(data: bytes) -> bytes:
            result = ClassificationResponse.FromString(data).result
            return classifications_json(
                [
                    [(item.label, item.score) for item in classes.classes]
                    for classes in result.classifications
                ]
            )

        return self._call(_PREDICTION + "Classify", request, call), finish

    def _regress(self, target: Target, body: bytes, call: Call) -> Pending:
        request = RegressionRequest()
        _fill_examples(request, target, body)

        def finish(data: bytes) -> bytes:
            result = RegressionResponse.FromString(data).result
            return regressions_json([regression.value for regression in result.regressions])

        return self._call(_PREDICTION + "Regress", request, call), finish

    def _metadata(self, target: Target, call: Call) -> Pending:
        request = GetModelMetadataRequest(metadata_field=["signature_def"])
        target.fill(request.model_spec)

        def finish(data: bytes) -> bytes:
            response = GetModelMetadataResponse.FromString(data)
            signatures = SignatureDefMap()
            response.metadata["signature_def"].Unpack(signatures)
            return _dump(
                {
                    "model_spec": _fields(response.model_spec),
                    "metadata": {"signature_def": _fields(signatures)},
                }
            )

        return self._call(_PREDICTION + "GetModelMetadata", request, call), finish

    def _status(self, target: Target, call: Call) -> Pending:
        request = GetModelStatusRequest()
        target.fill(request.model_spec)
        return (
            self._call(_MODEL + "GetModelStatus", request, call),
            lambda data: _dump(_fields(GetModelStatusResponse.FromString(data))),
        )

    def _call(self, method: str, request: Any, call: Call) -> bytes | Answer[bytes]:
        handler = self._handlers.get(method)
        if handler is None:
            raise RequestError(Code.UNIMPLEMENTED, f"{method} is not served")
        return handler(request.SerializeToString(), call)

    def _inputs(self, target: Target, signature: str) -> dict[str, int]:
        """The DataTypes of a signature's inputs."""
        name = signature or DEFAULT_SIGNATURE
        with self._core.lease(target.name, target.version, target.label) as (_, model):
            definition = model.signatures.get(name)
            if definition is None:
                raise invalid_argument(
                    f'Serving signature name: "{name}" not found in signature def'
                )
            return {alias: info.dtype for alias, info in definition.inputs.items()}


def _fill_examples(request: Any, target: Target, body: bytes) -> None:
    document = parse_object(body)
    target.fill(request.model_spec)
    request.model_spec.signature_name = signature_name(document)
    read_examples(document, request.input)


def _fields(message: Any) -> dict[str, Any]:
    fields: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


def _dump(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
