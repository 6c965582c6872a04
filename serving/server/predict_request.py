"""A PredictRequest from its bytes.

The requests of one client to one model mostly have all but their numbers in common. What they have
in common is read once: the rest of such a request is its tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from serving.server.parsing import parse
from serving.tensors import to_array

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]

_MAX_BYTES = 64 * 1024  # larger ones take longer to copy than to parse
_MAX_KEYS, _MAX_ALIKE, _MAX_PREFIX_BYTES = 256, 4, 1024
_KEY_BYTES = 16  # before any tensor's own; the beginning of the model's name is among them


@dataclass(frozen=True, slots=True)
class _Known:
    """What requests of one length that begin alike have in common.

    Attributes:
        prefix: All that comes before the tensor's own bytes, which end the message.
        request: The message without them.
        alias: The one input's.
        dtype: Of the tensor.
        shape: Of the tensor.
    """

    prefix: bytes
    request: PredictRequest
    alias: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class RequestReader:
    """Reads requests. From any thread."""

    def __init__(self) -> None:
        # By length and beginning; None: one that had no such thing in common with another.
        self._known: dict[tuple[int, bytes], tuple[_Known | None, ...]] = {}

    def read(self, data: bytes) -> tuple[PredictRequest, Arrays | None]:
        """The message, and its inputs where they were read with it.

        Returns:
            The message, not to be changed; and its inputs' arrays, in the place of `inputs` of the
            message, or None: they are in the message.

        Raises:
            RequestError: INVALID_ARGUMENT: the bytes are no PredictRequest.
        """
        if len(data) > _MAX_BYTES:
            return parse(PredictRequest, data), None
        key = len(data), data[:_KEY_BYTES]
        alike = self._known.get(key, ())
        for known in alike:
            if known is not None and data.startswith(known.prefix):
                content = data[len(known.prefix) :]
                return known.request, {known.alias: np.ndarray(known.shape, known.dtype, content)}
        request = parse(PredictRequest, data)
        if len(alike) < _MAX_ALIKE:
            if len(self._known) >= _MAX_KEYS:
                self._known.clear()
            self._known[key] = (*alike, _learn(data, request))
        return request, None


def _learn(data: bytes, request: PredictRequest) -> _Known | None:
    if len(request.inputs) != 1:
        return None
    [alias] = request.inputs
    content = request.inputs[alias].tensor_content
    if not content or not data.endswith(content):
        return None
    try:
        array = to_array(request.inputs[alias])
    except ValueError:
        return None
    prefix = data[: -len(content)]
    if len(prefix) > _MAX_PREFIX_BYTES:
        return None
    # It may look so by chance. It is so if other bytes there are another content, and nothing else.
    other = bytes(byte ^ 0xFF for byte in content)
    changed = PredictRequest()
    changed.CopyFrom(request)
    changed.inputs[alias].tensor_content = other
    try:
        if array.dtype == object or PredictRequest.FromString(prefix + other) != changed:
            return None
    except DecodeError:
        return None
    changed.inputs[alias].ClearField("tensor_content")
    return _Known(prefix, changed, alias, array.dtype, array.shape)
