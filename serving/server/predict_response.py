"""A PredictResponse, as bytes.

Answers of one model have all but their numbers in common, and what they have in common takes most
of the time to write: it is kept, and the arrays' bytes are put between.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving.tensors import tensor_head, varint, write_tensor

_OUTPUTS, _MODEL_SPEC = b"\x0a", b"\x12"  # of PredictResponse: fields 1 and 2, with a length
_KEY, _VALUE = b"\x0a", b"\x12"  # of an entry of the map


def predict_response(
    model_name: str,
    signature_name: str,
    version: int,
    as_tensor_content: bool,
    outputs: Mapping[str, np.ndarray[Any, Any]],
) -> bytes:
    """The response's bytes.

    Args:
        model_name: As the request names it.
        signature_name: The signature that was run.
        version: Of the model.
        as_tensor_content: Write numbers as `tensor_content`.
        outputs: Alias to array.
    """
    parts: list[bytes] = []
    for alias, array in outputs.items():
        head = _entry_head(alias, array.dtype, array.shape, as_tensor_content)
        if head:
            parts += (head, array.tobytes())
        else:
            tensor = TensorProto()
            write_tensor(tensor, array, as_tensor_content=as_tensor_content)
            parts.append(_entry(alias, tensor.SerializeToString()))
    parts.append(_spec(model_name, signature_name, version))
    return b"".join(parts)


@lru_cache(512)
def _entry_head(
    alias: str, dtype: np.dtype[Any], shape: tuple[int, ...], as_tensor_content: bool
) -> bytes:
    """What comes before the array's own bytes; empty: they are not its bytes on the wire."""
    head = tensor_head(dtype, shape, as_tensor_content=as_tensor_content)
    if head is None:
        return b""
    size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    return _entry(alias, head, size)


def _entry(alias: str, tensor: bytes, more: int = 0) -> bytes:
    """An output, of whose tensor `more` bytes are to follow."""
    key = alias.encode()
    key = _KEY + varint(len(key)) + key
    size = len(tensor) + more
    value = _VALUE + varint(size) + tensor
    return _OUTPUTS + varint(len(key) + len(value) + more) + key + value


@lru_cache(512)
def _spec(model_name: str, signature_name: str, version: int) -> bytes:
    spec = ModelSpec(name=model_name, signature_name=signature_name)
    spec.version.value = version
    content = spec.SerializeToString()
    return _MODEL_SPEC + varint(len(content)) + bytes(content)
