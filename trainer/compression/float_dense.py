"""The last Dense layer of an int8 core, and the label's unit behind it, computed in float.

An int8 answer of a regression is one of 256 values, and none lies outside the range that was seen
in calibration: a price is told to 1/256 of that range, and the dearest houses cost all the same.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

_TYPES = schema.TensorType
_BIAS = 2  # Position among the inputs of FULLY_CONNECTED: values, weights, bias (-1: none).


def float_dense(core: bytes) -> bytes:
    """Moves the last DEQUANTIZE of a core in front of the int8 FULLY_CONNECTED before it.

    The weights stay in int8, with a DEQUANTIZE of their own, which LiteRT computes once.

    Args:
        core: A TFLite model.

    Returns:
        One whose last FULLY_CONNECTED reads and gives float32, and so does the one before it if
        the last takes each input by itself, as the label's unit does; `core` itself where it does
        not end with FULLY_CONNECTED and DEQUANTIZE.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(core))
    changed = [_rewrite(model, graph) for graph in model.subgraphs]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model)) if any(changed) else core


def _rewrite(model: Any, graph: Any) -> bool:
    *ops, dequantize = graph.operators
    if flatbuffer_utils.opcode_to_name(model, dequantize.opcodeIndex) != "DEQUANTIZE":
        return False
    dense = _last_dense(model, graph, dequantize.inputs[0])
    if not dense:
        return False
    ops = ops[: -len(dense)]
    values = _dequantized(graph, dense[0].inputs[0], dequantize, ops)
    for op in dense:
        weights = _dequantized(graph, op.inputs[1], dequantize, ops)
        for bias in op.inputs[_BIAS:]:
            if bias >= 0:  # There may be none.
                _bias_in_float(model, graph.tensors[bias])
        op.inputs = [values, weights, *op.inputs[_BIAS:]]
        ops.append(op)
        values = op.outputs[0]
        _as_float(graph.tensors[values])
    ops[-1].outputs = list(dequantize.outputs)
    graph.operators = ops
    return True


def _last_dense(model: Any, graph: Any, output: int) -> list[Any]:
    """The last ops, in order, that are to be in float; none where the core ends otherwise."""
    found: list[Any] = []
    for op in reversed(graph.operators[:-1]):
        if list(op.outputs) != [output] or not _is_int8_dense(model, graph, op):
            break
        found.insert(0, op)
        output = op.inputs[0]
        if not _is_unit(model, graph.tensors[op.inputs[1]]):
            break
    return found


def _is_unit(model: Any, weights: Any) -> bool:
    """Whether int8 weights [outputs, inputs] have one input, or are of no output but their own."""
    outputs, inputs = weights.shape
    values = np.asarray(model.buffers[weights.buffer].data, np.uint8).reshape(outputs, inputs)
    return bool(
        inputs == 1 or (outputs == inputs and not values[~np.eye(inputs, dtype=bool)].any())
    )


def _is_int8_dense(model: Any, graph: Any, op: Any) -> bool:
    if flatbuffer_utils.opcode_to_name(model, op.opcodeIndex) != "FULLY_CONNECTED":
        return False
    values, weights, output = (graph.tensors[i] for i in (*op.inputs[:_BIAS], op.outputs[0]))
    biases = [index for index in op.inputs[_BIAS:] if index >= 0]
    read = [index for other in graph.operators for index in other.inputs]
    return (
        values.type == weights.type == output.type == _TYPES.INT8
        and model.buffers[weights.buffer].data is not None
        and all(graph.tensors[index].type == _TYPES.INT32 for index in biases)
        and all(
            read.count(index) == 1 for index in [op.outputs[0], *biases]
        )  # They are changed in their place.
        and op.outputs[0] not in graph.outputs
    )


def _dequantized(graph: Any, index: int, dequantize: Any, ops: list[Any]) -> int:
    """Appends the DEQUANTIZE of a tensor to `ops`; returns the new tensor's index."""
    tensor = copy.copy(graph.tensors[index])
    tensor.buffer = 0
    _as_float(tensor)
    graph.tensors.append(tensor)
    op = copy.copy(dequantize)
    op.inputs, op.outputs = [index], [len(graph.tensors) - 1]
    ops.append(op)
    return len(graph.tensors) - 1


def _bias_in_float(model: Any, tensor: Any) -> None:
    stored = np.asarray(model.buffers[tensor.buffer].data, np.uint8).view(np.int32)
    values = (stored * tensor.quantization.scale).astype(np.float32)
    buffer = type(model.buffers[0])()
    buffer.data = values.view(np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
    _as_float(tensor)


def _as_float(tensor: Any) -> None:
    tensor.type = _TYPES.FLOAT32
    tensor.quantization = None
