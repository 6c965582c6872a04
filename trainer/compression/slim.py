"""The same TFLite model in fewer bytes: without names, and with equal parts stored once.

A core of tabular features is small, and has many tensors: a dozen inputs, each with its table,
gather, reshape and quantize. At int8 the converter's bookkeeping is then a third of the file (seen:
47.6 KB as converted, 40.5 KB slim, of which 34 KB are weights).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert.tools import flatbuffer_utils

_FILE_IDENTIFIER = b"TFL3"
_BUFFER_ALIGNMENT = 16  # `force_align` of Buffer.data in TFLite's schema.


def slim(core: bytes) -> bytes:
    """Rewrites a TFLite model, for the same outputs to the last bit.

    Kept: the signature. Left out: names of tensors, the converter's metadata, and what only
    calibration read. Shared: equal vectors (shapes, scales) and quantization parameters.

    Args:
        core: A TFLite model of less than 2 GB (one flatbuffer without external buffers).
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(core))
    signatures = model.signatureDefs
    flatbuffer_utils.strip_strings(model)  # It takes the signatures for strings, too.
    model.signatureDefs = signatures
    model.metadata = model.metadataBuffer = None
    for graph in model.subgraphs:
        _share_quantization(graph)
        for index, tensor in enumerate(graph.tensors):
            # Between the ends, which of the sizes vary follows from the inputs.
            if index not in graph.inputs and index not in graph.outputs:
                tensor.shapeSignature = None
    _drop_unused_buffers(model)
    builder = _Builder(len(core))
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):
    """Writes equal vectors once, weights as aligned as the C++ writer does, and the fields of one
    byte side by side: each padded to four is a tenth of what a tensor takes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}
        self._small: list[Callable[[], None]] = []

    def PrependInt8Slot(self, *slot: Any) -> None:
        self._small.append(functools.partial(super().PrependInt8Slot, *slot))

    def PrependUint8Slot(self, *slot: Any) -> None:
        self._small.append(functools.partial(super().PrependUint8Slot, *slot))

    def PrependBoolSlot(self, *slot: Any) -> None:
        self._small.append(functools.partial(super().PrependBoolSlot, *slot))

    def EndObject(self) -> int:
        for write in self._small:
            write()
        self._small.clear()
        return int(super().EndObject())

    def StartVector(self, elem_size: int, count: int, alignment: int) -> int:
        return super().StartVector(
            elem_size, count, _BUFFER_ALIGNMENT if elem_size == 1 else alignment
        )

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def _share_quantization(graph: Any) -> None:
    shared: dict[tuple[bytes, bytes, int], Any] = {}
    for tensor in graph.tensors:
        parameters = tensor.quantization
        if parameters is None or parameters.scale is None:
            tensor.quantization = None
            continue
        if parameters.details is not None:  # Not of our converter.
            continue
        parameters.min = parameters.max = None
        key = (
            parameters.scale.tobytes(),
            parameters.zeroPoint.tobytes(),
            parameters.quantizedDimension,
        )
        if key not in shared:
            parameters.Pack = functools.cache(parameters.Pack)  # Written once, referred to often.
            shared[key] = parameters
        tensor.quantization = shared[key]


def _drop_unused_buffers(model: Any) -> None:
    """Renumbers the buffers that tensors read; buffer 0 is empty by TFLite's convention."""
    numbers: dict[int, int] = {}
    kept = [type(model.buffers[0])()]
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if model.buffers[tensor.buffer].data is None:
                tensor.buffer = 0
                continue
            if tensor.buffer not in numbers:
                numbers[tensor.buffer] = len(kept)
                kept.append(model.buffers[tensor.buffer])
            tensor.buffer = numbers[tensor.buffer]
    model.buffers = kept
