"""TensorProto to numpy and back, on packed bytes, for any generated class of the message.

The functions only touch the fields of the message they are given, so the same code serves
TensorFlow's own classes (the server) and classes built without TensorFlow (the client).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    from ml_dtypes import bfloat16 as _bfloat16
except ImportError:  # Optional: without it, bfloat16 is read as float32, which loses nothing.
    _bfloat16 = None

MAX_TENSOR_BYTES = 2**31 - 1
"""No protobuf message is larger."""

MAX_FILLED_BYTES = 64 * 2**20
"""A TensorProto may state a large shape with few values, of which the last fills it. TensorFlow
knows no bound; this is ours on what a small request can make its reader allocate."""


@dataclass(frozen=True)
class _Kind:
    """How one DataType lies in a TensorProto: the repeated field and its element's numpy type."""

    field: str
    dtype: np.dtype[Any] | None  # None: byte strings
    field_number: int = 0  # set where the packed field is the array's own bytes


_OBJECT = np.dtype(object)
# DataType numbers, fields and field numbers: tensorflow/core/framework/{types,tensor}.proto.
_KINDS: dict[int, _Kind] = {
    1: _Kind("float_val", np.dtype("<f4"), 5),
    2: _Kind("double_val", np.dtype("<f8"), 6),
    3: _Kind("int_val", np.dtype("<i4")),
    4: _Kind("int_val", np.dtype("u1")),
    5: _Kind("int_val", np.dtype("<i2")),
    6: _Kind("int_val", np.dtype("i1")),
    7: _Kind("string_val", None),
    8: _Kind("scomplex_val", np.dtype("<c8"), 9),
    9: _Kind("int64_val", np.dtype("<i8")),
    10: _Kind("bool_val", np.dtype("?"), 11),
    14: _Kind("half_val", np.dtype("<u2")),
    17: _Kind("int_val", np.dtype("<u2")),
    18: _Kind("dcomplex_val", np.dtype("<c16"), 12),
    19: _Kind("half_val", np.dtype("<f2")),
    22: _Kind("uint32_val", np.dtype("<u4")),
    23: _Kind("uint64_val", np.dtype("<u8")),
}
_BFLOAT16, _STRING, _HALF = 14, 7, 19
_CONTENT = 4  # the field number of tensor_content
_NUMBERS: dict[np.dtype[Any], int] = {
    kind.dtype: number
    for number, kind in _KINDS.items()
    if kind.dtype is not None and number != _BFLOAT16
}
if _bfloat16 is not None:
    _NUMBERS[np.dtype(_bfloat16)] = _BFLOAT16

DTYPE_NAMES: dict[int, str] = {
    1: "float",
    2: "double",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "half",
    22: "uint32",
    23: "uint64",
}
"""DataType number to the name TensorFlow's messages use (DataTypeString)."""


def to_array(proto: Any, stated: Any = None) -> np.ndarray[Any, Any]:
    """Reads a TensorProto.

    Values follow TensorFlow's `Tensor::FromProto`: `tensor_content` wins over the typed field; a
    typed field with fewer values than the shape repeats its last one; an empty one means zeros.

    Args:
        proto: A `tensorflow.TensorProto` of any generated class.
        stated: The signature's `TensorInfo`, which a tensor that repeats its last value must fit;
            a tensor with all its values may not, and is the graph's to refuse. None: any.

    Returns:
        An array of the message's shape. Strings are object arrays of bytes; bfloat16 is
        `ml_dtypes.bfloat16` where that package is installed and float32 otherwise. The array may
        be read-only, for it may share the message's bytes.

    Raises:
        ValueError: The message is no valid tensor, or is not to be filled: it does not fit, or
            would take more than `MAX_FILLED_BYTES`.
    """
    kind = _KINDS.get(proto.dtype)
    if kind is None:
        raise ValueError(f"DataType {proto.dtype} is not supported")
    shape = _shape(proto)
    count = math.prod(shape)
    content = proto.tensor_content
    if content and kind.dtype is not None and len(content) == count * kind.dtype.itemsize:
        array = np.ndarray(shape, kind.dtype, content)
        return array if proto.dtype != _BFLOAT16 else _bfloat16_from_bits(array)
    item_bytes = kind.dtype.itemsize if kind.dtype is not None else 8
    if count * item_bytes > MAX_TENSOR_BYTES:
        raise ValueError(f"shape {list(shape)} is larger than a message can be")
    if kind.dtype is None:
        values = _strings(proto, count)
        if len(values) < count:
            _check_fill(proto, shape, count * item_bytes, stated)
        flat = _filled_strings(values, count)
    elif content:
        raise ValueError(
            f"tensor_content has {len(content)} bytes, shape {list(shape)} needs "
            f"{count * item_bytes}"
        )
    else:
        flat = _read_field(proto, kind)
        if len(flat) < count:
            _check_fill(proto, shape, count * item_bytes, stated)
            flat = _filled(flat, count)
        flat = flat[:count]
    if proto.dtype == _BFLOAT16:
        flat = _bfloat16_from_bits(flat)
    return flat.reshape(shape)


def write_tensor(
    proto: Any, array: np.ndarray[Any, Any], *, as_tensor_content: bool = False
) -> None:
    """Writes an array into an empty TensorProto.

    Args:
        proto: The message to fill.
        array: Any numpy array of a type that TensorFlow has; text (`str`) is written as UTF-8.
        as_tensor_content: Use `tensor_content` for numbers (fast; what clients send). The default
            is the typed field, as the model server answers: many clients read `float_val`.

    Raises:
        ValueError: TensorFlow has no such dtype.
    """
    head = tensor_head(array.dtype, array.shape, as_tensor_content=as_tensor_content)
    if head is not None:
        # Parsing packed bytes is ten times faster than extending a field value by value.
        proto.MergeFromString(head + array.tobytes())
        return
    number = dtype_number(array)
    kind = _KINDS[number]
    proto.dtype = number
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if kind.dtype is None:
        proto.string_val.extend(_encoded(array.ravel().tolist()))
        return
    if number == _BFLOAT16:
        array = array.view(np.uint16)
    array = np.ascontiguousarray(array).astype(kind.dtype, copy=False)
    if as_tensor_content:
        proto.tensor_content = array.tobytes()
    else:
        values = array.view(np.uint16) if number == _HALF else array
        getattr(proto, kind.field).extend(values.ravel().tolist())


def tensor_head(
    dtype: np.dtype[Any], shape: tuple[int, ...], *, as_tensor_content: bool = False
) -> bytes | None:
    """The bytes of a TensorProto that come before those of a C-contiguous array.

    Args:
        dtype: The array's.
        shape: The array's.
        as_tensor_content: As `write_tensor`.

    Returns:
        The bytes; None: a TensorProto does not end with such an array's bytes.
    """
    number = _NUMBERS.get(dtype)
    if number is None or 0 in shape:
        return None
    field_number = _CONTENT if as_tensor_content else _KINDS[number].field_number
    if not field_number:
        return None
    sizes = b""
    for size in shape:  # tensor.proto: dtype 1, tensor_shape 2; tensor_shape.proto: dim 2, size 1
        dim = b"\x08" + varint(size)
        sizes += b"\x12" + varint(len(dim)) + dim
    start = b"\x08" + varint(number) + b"\x12" + varint(len(sizes)) + sizes
    return start + varint(field_number << 3 | 2) + varint(math.prod(shape) * dtype.itemsize)


def dtype_number(array: np.ndarray[Any, Any]) -> int:
    """The DataType number of an array; byte strings, text and objects are DT_STRING.

    Raises:
        ValueError: TensorFlow has no such dtype.
    """
    number = _NUMBERS.get(array.dtype)
    if number is not None:
        return number
    if array.dtype.kind in "OSU":
        return _STRING
    number = _NUMBERS.get(array.dtype.newbyteorder("<"))
    if number is None:
        raise ValueError(f"numpy dtype {array.dtype} has no TensorFlow equivalent")
    return number


def _shape(proto: Any) -> tuple[int, ...]:
    stated = proto.tensor_shape
    if stated.unknown_rank:
        raise ValueError("the shape has no rank")
    shape = tuple([dim.size for dim in stated.dim])
    if shape and min(shape) < 0:
        raise ValueError(f"shape {list(shape)} has a negative size")
    if len(shape) > 64:
        raise ValueError(f"{len(shape)} dimensions are more than numpy holds")
    return shape


def _read_field(proto: Any, kind: _Kind) -> np.ndarray[Any, Any]:
    values = getattr(proto, kind.field)
    assert kind.dtype is not None
    if kind.dtype.kind == "c":
        half = np.dtype(f"<f{kind.dtype.itemsize // 2}")
        if len(values) % 2:
            raise ValueError(f"{kind.field} has an odd number of parts")
        return np.fromiter(values, half, len(values)).view(kind.dtype)
    if kind.field == "half_val":
        return np.fromiter(values, np.int64, len(values)).astype(np.uint16).view(kind.dtype)
    if kind.field == "int_val":  # int32 on the wire; narrower types wrap, as the C++ cast does
        return np.fromiter(values, np.int32, len(values)).astype(kind.dtype)
    return np.fromiter(values, kind.dtype, len(values))


def _check_fill(proto: Any, shape: tuple[int, ...], size: int, stated: Any) -> None:
    if size > MAX_FILLED_BYTES:
        raise ValueError(
            f"shape {list(shape)} has too few values; they are repeated for up to "
            f"{MAX_FILLED_BYTES} bytes"
        )
    if stated is None:
        return
    if stated.dtype != proto.dtype:
        wanted = DTYPE_NAMES.get(stated.dtype, str(stated.dtype))
        raise ValueError(f"the type is {DTYPE_NAMES[proto.dtype]}, the signature's {wanted}")
    if not stated.tensor_shape.unknown_rank:
        sizes = [dim.size for dim in stated.tensor_shape.dim]
        pairs = zip(sizes, shape, strict=False)
        if len(sizes) != len(shape) or any(size not in (-1, sent) for size, sent in pairs):
            raise ValueError(f"the shape is {list(shape)}, the signature's {sizes}")


def _filled(values: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    if len(values) <= 1:  # a view: nothing is allocated while the request waits
        return np.broadcast_to(values if len(values) else np.zeros(1, values.dtype), count)
    return np.concatenate([values, np.full(count - len(values), values[-1], values.dtype)])


def _strings(proto: Any, count: int) -> Sequence[bytes]:
    if proto.tensor_content:
        return _split_strings(proto.tensor_content, count)
    strings: Sequence[bytes] = proto.string_val
    return strings


def _filled_strings(values: Sequence[bytes], count: int) -> np.ndarray[Any, Any]:
    array = np.full(count, values[-1] if len(values) else b"", _OBJECT)
    known = min(count, len(values))
    array[:known] = values[:known]
    return array


def _split_strings(content: bytes, count: int) -> list[bytes]:
    """Strings in `tensor_content`: every length as a varint, then every string's bytes."""
    if count > len(content):
        raise ValueError("tensor_content is too short for its strings")
    lengths, at = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if at >= len(content) or shift > 63:
                raise ValueError("tensor_content ends inside a string's length")
            byte = content[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise ValueError("tensor_content does not have its strings' lengths")
    strings = []
    for length in lengths:
        strings.append(content[at : at + length])
        at += length
    return strings


def _bfloat16_from_bits(bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if _bfloat16 is not None:
        return bits.view(_bfloat16)
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _encoded(values: Iterable[object]) -> Iterable[bytes]:
    for value in values:
        if isinstance(value, bytes):
            yield value
        elif isinstance(value, str):
            yield value.encode()
        else:
            raise ValueError(f"{value!r} is neither bytes nor text")


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
