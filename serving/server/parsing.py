"""What every handler does first: reads the request's bytes, and finds the model that it names."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving.server.calls import Call
from serving.server.core import ServerCore
from serving.server.loaded import Servable
from serving.server.status import invalid_argument

_Message = TypeVar("_Message", bound=Message)


def parse(message_class: type[_Message], data: bytes) -> _Message:
    """The message that a request's bytes are.

    Raises:
        RequestError: INVALID_ARGUMENT: they are not.
    """
    try:
        return message_class.FromString(data)
    except DecodeError:
        raise invalid_argument(
            f"the request is no valid {message_class.DESCRIPTOR.full_name} message"
        ) from None


def lease(
    core: ServerCore, call: Call, has_spec: bool, spec: ModelSpec
) -> AbstractContextManager[tuple[int, Servable]]:
    """A context of the version and the model that a request's `model_spec` means.

    The call is told the model's name, for the log and the metrics.

    Raises:
        RequestError: INVALID_ARGUMENT: there is no `model_spec`; or as `ServerCore.lease`.
    """
    if not has_spec:
        raise invalid_argument("Missing ModelSpec")
    call.model_name = spec.name
    version = spec.version.value if spec.HasField("version") else None
    return core.lease(spec.name, version, spec.version_label)
