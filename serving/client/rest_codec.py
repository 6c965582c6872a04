"""Operations to requests of TensorFlow Serving's REST API, and their answers back.

The API is described in tensorflow/serving's docs (api_rest.md); messages are those of its
util/json_tensor.cc.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from google.protobuf.message import DecodeError

from serving.client import messages, operations
from serving.client.checks import numpy_dtype
from serving.client.model_types import ClassScore, Signature, TensorInfo, VersionStatus
from tfx_pipeline.errors import DataError


@dataclass(frozen=True)
class RestCall:
    """One HTTP request: a POST where there is a body, else a GET.

    Attributes:
        path: Below the server's address.
        body: JSON, or b"".
        read: The parsed JSON of the response to the operation's answer.
    """

    path: str
    body: bytes
    read: Callable[[Any], Any]


def encode(operation: operations.Operation) -> RestCall:
    """The request that does an operation.

    Raises:
        DataError: An Example or an array cannot be written as JSON.
    """
    match operation:
        case operations.Predict(model, signature_name, inputs, signature):
            body: dict[str, Any] = {
                "signature_name": signature_name,
                "inputs": {name: _plain(name, array) for name, array in inputs.items()},
            }
            read = _predict_reader(signature.outputs if signature else {})
            return RestCall(f"{_path(model)}:predict", _json(body), read)
        case operations.Classify(model, signature_name, examples):
            body = {"signature_name": signature_name, "examples": _examples(examples)}
            return RestCall(f"{_path(model)}:classify", _json(body), _read_classify)
        case operations.Regress(model, signature_name, examples):
            body = {"signature_name": signature_name, "examples": _examples(examples)}
            return RestCall(f"{_path(model)}:regress", _json(body), _read_regress)
        case operations.GetStatus(model):
            return RestCall(_path(model), b"", _read_status)
        case operations.GetMetadata(model):
            return RestCall(f"{_path(model)}/metadata", b"", _read_metadata)
        case operations.ListModels():
            return RestCall("/v1/models", b"", _read_models)


def _path(model: operations.Model) -> str:
    path = f"/v1/models/{quote(model.name, safe='')}"
    if model.version is not None:
        return f"{path}/versions/{model.version}"
    return f"{path}/labels/{quote(model.label, safe='')}" if model.label else path


def _json(body: Any) -> bytes:
    # NaN, Infinity and -Infinity are written as the server reads them.
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _plain(name: str, array: np.ndarray[Any, Any]) -> Any:
    if array.dtype.kind in "OSU":
        return _coded(name, array.tolist())
    if array.dtype.kind == "c":
        raise DataError(
            f"input {name} has complex numbers, which JSON cannot hold",
            where=f"input {name}",
            hint="Send it over gRPC, with Client.",
        )
    return (array.astype(np.float32) if array.dtype.kind == "V" else array).tolist()


def _coded(name: str, value: Any) -> Any:
    """Texts and bytes, in nested lists, as JSON: what is no UTF-8 goes as base64."""
    if isinstance(value, list):
        return [_coded(name, item) for item in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, str):
        return value
    raise DataError(
        f"input {name} cannot be sent: {value!r} is neither text nor number",
        where=f"input {name}",
        hint="Give numbers, texts or bytes.",
    )


def _examples(examples: Sequence[bytes]) -> list[dict[str, Any]]:
    return [_example(data, number) for number, data in enumerate(examples, start=1)]


def _example(data: bytes, number: int) -> dict[str, Any]:
    try:
        features = messages.Example.FromString(data).features.feature
    except DecodeError as error:
        raise DataError(
            "the bytes are no tf.Example",
            where=f"row {number}",
            hint="Give tf.train.Example(...).SerializeToString(), or rows as dicts.",
        ) from error
    row: dict[str, Any] = {}
    for name, feature in features.items():
        kind = feature.WhichOneof("kind")
        if kind is not None:
            values = list(getattr(feature, kind).value)
            values = _coded(name, values) if kind == "bytes_list" else values
            row[name] = values[0] if len(values) == 1 else values
    return row


def _predict_reader(outputs: Mapping[str, TensorInfo]) -> Callable[[Any], operations.Arrays]:
    def read(answer: Any) -> operations.Arrays:
        found = answer["outputs"]
        # A single output comes without its name.
        if len(outputs) == 1:
            [name] = outputs
            named = {name: found}
        elif isinstance(found, dict) and "b64" not in found:
            named = found
        else:
            named = {"outputs": found}
        return {name: _array(named[name], outputs.get(name)) for name in sorted(named)}

    return read


def _array(values: Any, info: TensorInfo | None) -> np.ndarray[Any, Any]:
    wanted = numpy_dtype(info.dtype) if info else None
    if wanted is None:
        array = np.asarray(_decoded(values))
        if array.dtype.kind in "SU":
            return _bytes_array(values)
        return array.astype(np.float32) if array.dtype == np.float64 else array
    return _bytes_array(values) if wanted.kind == "O" else np.asarray(values, dtype=wanted)


def _bytes_array(values: Any) -> np.ndarray[Any, Any]:
    return np.asarray(_decoded(values), dtype=object)


def _decoded(value: Any) -> Any:
    """Texts and {"b64": ...} in nested lists as bytes, numbers as they are."""
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value.encode() if isinstance(value, str) else value


def _read_classify(answer: Any) -> list[list[ClassScore]]:
    return [
        [ClassScore(str(label), float(score)) for label, score in row] for row in answer["results"]
    ]


def _read_regress(answer: Any) -> np.ndarray[Any, Any]:
    return np.asarray(answer["results"], np.float32)


def _read_status(answer: Any) -> list[VersionStatus]:
    return [_version(entry) for entry in answer["model_version_status"]]


def _version(entry: Any) -> VersionStatus:
    message = entry.get("status", {}).get("error_message", "")
    return VersionStatus(int(entry["version"]), entry["state"], message)


def _read_models(answer: Any) -> dict[str, list[VersionStatus]]:
    return {entry["name"]: _read_status(entry) for entry in answer["models"]}


def _read_metadata(answer: Any) -> dict[str, Signature]:
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    return {
        name: Signature(
            _infos(entry.get("inputs")),
            _infos(entry.get("outputs")),
            frozenset(entry.get("defaults") or ()),
        )
        for name, entry in signatures.items()
    }


def _infos(tensors: Mapping[str, Any] | None) -> dict[str, TensorInfo]:
    return {name: _info(tensor) for name, tensor in sorted((tensors or {}).items())}


def _info(tensor: Any) -> TensorInfo:
    shape = tensor.get("tensor_shape") or {}
    sizes = tuple(int(dim["size"]) for dim in shape.get("dim") or [])
    known = tuple(size if size >= 0 else None for size in sizes)
    dtype = str(tensor.get("dtype", "")).removeprefix("DT_").lower()
    return TensorInfo(dtype, None if shape.get("unknown_rank") else known)
