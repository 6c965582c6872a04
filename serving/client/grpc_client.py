"""The gRPC client: rows or arrays in, arrays out, from any TensorFlow Serving endpoint."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc
import numpy as np

from serving.client import messages
from serving.client.examples import Kinds, Row, encode_examples
from serving.tensors import DTYPE_NAMES, to_array, write_tensor
from tfx_pipeline.errors import ServingError

Rows = Sequence[Row] | Sequence[bytes] | Mapping[str, Any]

_EXAMPLES = "examples"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _RETRIES = 0.1, 1.0, 3
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class RequestFailed(ServingError):
    """Raised when a request ends in a status other than OK.

    Attributes:
        code: The gRPC status, for instance `NOT_FOUND`.
        message: The server's (or gRPC's) message, unchanged.
    """

    code: str = "UNKNOWN"
    message: str = ""


@dataclass(frozen=True)
class VersionStatus:
    """Where one version of a model stands; `message` says why a load failed."""

    version: int
    state: str
    message: str = ""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output: dtype as TensorFlow names it, and shape with None for any size (the
    shape itself None when the rank is not known)."""

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """A signature's inputs and outputs by name."""

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]


class Client:
    """A connection to a model server. Thread-safe; a context manager that closes itself.

    Every call has a deadline, `timeout_s` for all its attempts together. Only UNAVAILABLE (the
    server was not reached, or is stopping) is tried again, after a short random pause.
    """

    def __init__(self, address: str, timeout_s: float = 10.0) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)

    def predict(
        self,
        model_name: str,
        rows: Rows,
        *,
        signature_name: str = "serving_default",
        version: int | None = None,
        kinds: Kinds | None = None,
        missing_values: Collection[str] = (),
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Asks a model for its predictions.

        Args:
            model_name: The name the server serves it under.
            rows: For a signature whose one input is `examples`: rows as dicts (encoded as in
                `encode_examples`) or serialized tf.Examples. For any other: input name to array;
                lists become float32, int64, bool or string arrays.
            signature_name: The signature to run.
            version: A version number; None asks for the latest.
            kinds: Column name to `int`, `float` or `bytes`, for rows as dicts.
            missing_values: Texts that mean missing in columns of numbers, for rows as dicts.

        Returns:
            Output name to array; the first dimension is the row. Strings are arrays of bytes.

        Raises:
            RequestFailed: The server is not there, refused, or took too long.
            DataError: A value cannot be what its kind says.
        """
        request = messages.PredictRequest()
        request.model_spec.signature_name = signature_name
        _name(request.model_spec, model_name, version)
        for name, array in _input_arrays(rows, kinds, missing_values).items():
            write_tensor(request.inputs[name], array, as_tensor_content=True)
        response = self._call("PredictionService/Predict", request, messages.PredictResponse)
        return {name: to_array(response.outputs[name]) for name in sorted(response.outputs)}

    def status(self, model_name: str, version: int | None = None) -> list[VersionStatus]:
        """The versions of a model that the server has seen, and their states.

        Raises:
            RequestFailed: NOT_FOUND while there is none, or the server is not there.
        """
        request = messages.GetModelStatusRequest()
        _name(request.model_spec, model_name, version)
        response = self._call(
            "ModelService/GetModelStatus", request, messages.GetModelStatusResponse
        )
        states = response.DESCRIPTOR.file.message_types_by_name["ModelVersionStatus"].enum_types[0]
        return [
            VersionStatus(
                entry.version,
                states.values_by_number[entry.state].name,
                entry.status.error_message,
            )
            for entry in response.model_version_status
        ]

    def metadata(self, model_name: str, version: int | None = None) -> dict[str, Signature]:
        """The signatures of a model by name.

        Raises:
            RequestFailed: The model is not served, or the server is not there.
        """
        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        _name(request.model_spec, model_name, version)
        response = self._call(
            "PredictionService/GetModelMetadata", request, messages.GetModelMetadataResponse
        )
        signatures = messages.SignatureDefMap.FromString(response.metadata["signature_def"].value)
        return {
            key: Signature(_tensor_infos(definition.inputs), _tensor_infos(definition.outputs))
            for key, definition in signatures.signature_def.items()
        }

    def wait_ready(self, model_name: str, timeout_s: float = 60.0) -> None:
        """Waits until a version of a model is available.

        Raises:
            ServingError: A version failed to load and none is left, or the time is up.
        """
        deadline = time.monotonic() + timeout_s
        last: Exception | None = None
        while time.monotonic() < deadline:
            try:
                statuses = self.status(model_name)
            except RequestFailed as error:
                if error.code not in ("UNAVAILABLE", "NOT_FOUND", "DEADLINE_EXCEEDED"):
                    raise
                last, statuses = error, []
            if any(status.state == "AVAILABLE" for status in statuses):
                return
            failed = [status for status in statuses if status.message]
            if failed and all(status.state == "END" for status in statuses):
                raise ServingError(
                    f"model {model_name} version {failed[0].version} cannot be loaded: "
                    f"{failed[0].message}",
                    where=self.address,
                    hint="Export the model again, or remove the damaged version.",
                )
            time.sleep(0.05)
        raise ServingError(
            f"model {model_name} was not available within {timeout_s:g} s",
            where=self.address,
            hint="The server's log says what it waits for.",
        ) from last

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, method: str, request: Any, response_class: Any) -> Any:
        call = self._channel.unary_unary(
            f"/tensorflow.serving.{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response_class.FromString,
        )
        deadline = time.monotonic() + self.timeout_s
        pause = _FIRST_PAUSE_S
        for attempt in range(_RETRIES + 1):
            try:
                return call(request, timeout=max(0.001, deadline - time.monotonic()))
            except grpc.RpcError as error:
                jittered = pause * random.uniform(0.5, 1.5)
                late = time.monotonic() + jittered > deadline
                if error.code() is not grpc.StatusCode.UNAVAILABLE or late or attempt == _RETRIES:
                    raise self._failure(error, request.model_spec.name) from error
            time.sleep(jittered)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")

    def _failure(self, error: grpc.RpcError, model_name: str) -> RequestFailed:
        code, message = error.code().name, error.details() or ""
        failure = RequestFailed(
            f"{code}: {message}", where=self.address, hint=self._hint(code, message, model_name)
        )
        failure.code, failure.message = code, message
        return failure

    def _hint(self, code: str, message: str, model_name: str) -> str:
        if code == "UNAVAILABLE":
            port = self.address.rpartition(":")[2]
            return (
                "Is the server running? Start it with "
                f"`assay serve FOLDER --model-name {model_name} --port {port}`."
            )
        if code == "DEADLINE_EXCEEDED":
            return f"The limit is {self.timeout_s:g} s; raise it with timeout_s (--timeout)."
        if code == "NOT_FOUND":
            return "Check the model's name and version; the server's log says what it serves."
        if "Data types don't match" in message:
            return "Set the kind of that column: --kinds column=float (kinds={...} in Python)."
        return "Compare the request with the model's signatures, Client(...).metadata(name)."


def _name(spec: Any, model_name: str, version: int | None) -> None:
    spec.name = model_name
    if version is not None:
        spec.version.value = version


def _input_arrays(
    rows: Rows, kinds: Kinds | None, missing_values: Collection[str]
) -> dict[str, np.ndarray[Any, Any]]:
    if isinstance(rows, Mapping):
        return {name: _as_array(values) for name, values in rows.items()}
    if rows and isinstance(rows[0], bytes):
        encoded: list[Any] = list(rows)
    else:
        encoded = encode_examples(rows, kinds, missing_values)  # type: ignore[arg-type]
    array = np.empty(len(encoded), dtype=object)
    array[:] = encoded
    return {_EXAMPLES: array}


def _as_array(values: Any) -> np.ndarray[Any, Any]:
    if isinstance(values, (np.ndarray, np.generic)):
        return np.asarray(values)
    if isinstance(values, bytes):  # numpy's own bytes type would drop trailing zeros
        return np.asarray(values, dtype=object)
    array = np.asarray(values)
    if array.dtype.kind in "SU":
        return np.asarray(values, dtype=object)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _tensor_infos(tensors: Mapping[str, Any]) -> dict[str, TensorInfo]:
    return {name: _tensor_info(tensor) for name, tensor in sorted(tensors.items())}


def _tensor_info(tensor: Any) -> TensorInfo:
    shape = tensor.tensor_shape
    sizes = tuple(dim.size if dim.size >= 0 else None for dim in shape.dim)
    name = DTYPE_NAMES.get(tensor.dtype, f"DataType {tensor.dtype}")
    return TensorInfo(name, None if shape.unknown_rank else sizes)
