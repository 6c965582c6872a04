"""What a converted core computes with: whether it was quantized, and what of it stayed in float."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tfx_pipeline.errors import NodeFailed
from trainer.compression.candidate import Numbers
from trainer.compression.float_head import ACTIVATIONS

_TYPES = schema.TensorType
# What a kernel is stored in.
_STORED: dict[Numbers, int] = {
    "float16": _TYPES.FLOAT16,
    "dynamic_range": _TYPES.INT8,
    "int8": _TYPES.INT8,
    "int16x8": _TYPES.INT8,
}
_BETWEEN = ("QUANTIZE", "DEQUANTIZE")  # At the core's ends, and around what stays in float.


def inspect(core: bytes, numbers: Numbers, name: str) -> tuple[str, ...]:
    """Checks that a core has the numbers it was converted to.

    Args:
        core: The TFLite model.
        numbers: What it was converted to.
        name: The model's, for messages.

    Returns:
        Notes: for int8 and int16x8 the ops that compute in float, for dynamic_range and float16
        how many kernels stayed in float32.

    Raises:
        NodeFailed: No kernel has these numbers. TFLite says nothing of it.
    """
    if numbers == "float32":
        return ()
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(core))
    kernels = Counter(
        tensor.type
        for graph in model.subgraphs
        for tensor in graph.tensors
        if tensor.shape is not None
        and len(tensor.shape) > 1
        and model.buffers[tensor.buffer].data is not None
    )
    if not kernels[_STORED[numbers]]:
        raise NodeFailed(
            f"conversion to {numbers} left every kernel of {name!r} in float32",
            hint="TFLite does so with kernels of fewer than 1,024 weights. Choose int8, or drop "
            "the candidate."
            if numbers == "dynamic_range"
            else "Choose other numbers, or drop the candidate.",
        )
    if numbers in ("int8", "int16x8"):
        ops = sorted(_float_ops(model).items())
        return ("computes in float: " + ", ".join(f"{n} {op}" for op, n in ops),) if ops else ()
    left = kernels[_TYPES.FLOAT32]
    return (f"{left} of {kernels.total()} kernels left in float32",) if left else ()


def _float_ops(model: Any) -> Counter[str]:
    """The ops that read or write float32, by TFLite's name, and how many there are of each.

    Without a last activation: `float_head` puts it in float.
    """
    found: Counter[str] = Counter()
    for graph in model.subgraphs:
        *ops, last = graph.operators
        if flatbuffer_utils.opcode_to_name(model, last.opcodeIndex) not in ACTIVATIONS:
            ops.append(last)
        for op in ops:
            name = flatbuffer_utils.opcode_to_name(model, op.opcodeIndex)
            tensors = [*op.inputs, *op.outputs]
            if name not in _BETWEEN and any(
                index >= 0 and graph.tensors[index].type == _TYPES.FLOAT32 for index in tensors
            ):
                found[name] += 1
    return found
