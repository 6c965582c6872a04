"""Tensor conversion, both ways, against TensorFlow's own, for every dtype."""

from __future__ import annotations

import tracemalloc

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving import tensors
from serving.client.messages import PredictRequest

NUMERIC = [
    np.float32,
    np.float64,
    np.float16,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.bool_,
    np.complex64,
    np.complex128,
]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
ARRAYS = st.one_of(
    *[hnp.arrays(dtype, SHAPES) for dtype in NUMERIC],
    hnp.arrays(np.uint16, SHAPES).map(lambda bits: bits.view(ml_dtypes.bfloat16)),
    hnp.arrays(np.dtype(object), SHAPES, elements=st.binary(max_size=200)),
)


def _same(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    if expected.dtype == object:
        assert actual.tolist() == expected.tolist()
    else:  # bit by bit, so that NaN and -0.0 count
        assert actual.tobytes() == expected.tobytes()


@settings(max_examples=300, deadline=None)
@given(array=ARRAYS, content=st.booleans())
def test_round_trip_in_the_clients_and_tensorflows_classes(
    array: np.ndarray, content: bool
) -> None:
    ours = PredictRequest().inputs["x"]
    tensors.write_tensor(ours, array, as_tensor_content=content)
    _same(tensors.to_array(ours), array)
    theirs = tensor_pb2.TensorProto.FromString(ours.SerializeToString())
    _same(tf.make_ndarray(theirs), array)
    _same(tensors.to_array(theirs), array)


@settings(max_examples=300, deadline=None)
@given(array=ARRAYS)
def test_reads_what_tensorflow_writes(array: np.ndarray) -> None:
    _same(tensors.to_array(tf.make_tensor_proto(array)), array)
    dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    serialized = tf.io.serialize_tensor(tf.constant(array, dtype)).numpy()
    _same(tensors.to_array(tensor_pb2.TensorProto.FromString(serialized)), array)


def test_strings_in_tensor_content() -> None:
    proto = tensor_pb2.TensorProto(dtype=7, tensor_content=b"\x01\x00\xc8\x01" + b"a" + b"b" * 200)
    proto.tensor_shape.dim.add().size = 3
    assert tensors.to_array(proto).tolist() == [b"a", b"", b"b" * 200]


@pytest.mark.parametrize(
    ("values", "expected"), [([], [0, 0, 0]), ([5], [5, 5, 5]), ([1, 2, 3, 4], [1, 2, 3])]
)
def test_typed_fields_are_filled_as_tensorflow_does(values: list, expected: list) -> None:
    proto = tensor_pb2.TensorProto(dtype=3, int_val=values)
    proto.tensor_shape.dim.add().size = 3
    assert tensors.to_array(proto).tolist() == expected


FLOAT, STRING = 1, 7


def filled(dtype: int, shape: tuple[int, ...], values: int = 1) -> tensor_pb2.TensorProto:
    """A few bytes that stand for a tensor of any size."""
    proto = tensor_pb2.TensorProto(dtype=dtype)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype == STRING:
        proto.string_val.extend([b"a"] * values)
    else:
        proto.float_val.extend([2.5] * values)
    return proto


def stated(dtype: int, shape: tuple[int, ...] | None) -> TensorInfo:
    info = TensorInfo(dtype=dtype)
    info.tensor_shape.unknown_rank = shape is None
    for size in shape or ():
        info.tensor_shape.dim.add(size=size)
    return info


@pytest.mark.parametrize("values", [0, 1, 2])
@pytest.mark.parametrize("dtype", [FLOAT, STRING])
def test_filling_is_bounded(dtype: int, values: int) -> None:
    item = 8 if dtype == STRING else 4
    most = tensors.MAX_FILLED_BYTES // item
    assert tensors.to_array(filled(dtype, (most // 4, 4), values)).shape == (most // 4, 4)
    tracemalloc.start()
    with pytest.raises(ValueError, match="too few values"):
        tensors.to_array(filled(dtype, (most + 1,), values))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000  # it was not filled first
    tracemalloc.stop()


def test_one_value_is_filled_without_allocating() -> None:
    tracemalloc.start()
    array = tensors.to_array(filled(FLOAT, (1000, 1000)))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert (array == 2.5).all()


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (stated(FLOAT, (-1, 3)), None),
        (stated(FLOAT, (2, 3)), None),
        (stated(FLOAT, None), None),
        (stated(FLOAT, (-1, 4)), r"the shape is \[2, 3\], the signature's \[-1, 4\]"),
        (stated(FLOAT, (-1,)), r"the shape is \[2, 3\], the signature's \[-1\]"),
        (stated(3, (-1, 3)), "the type is float, the signature's int32"),
    ],
)
def test_what_is_filled_must_fit_the_signature(info: TensorInfo, message: str | None) -> None:
    complete = filled(FLOAT, (2, 3), values=6)
    assert tensors.to_array(complete, info).shape == (2, 3)  # the graph's to refuse
    few = filled(FLOAT, (2, 3))
    if message is None:
        assert tensors.to_array(few, info).tolist() == [[2.5] * 3] * 2
    else:
        with pytest.raises(ValueError, match=message):
            tensors.to_array(few, info)


def test_text_is_written_as_utf8() -> None:
    proto = tensor_pb2.TensorProto()
    tensors.write_tensor(proto, np.array(["é", "a"]))
    assert list(proto.string_val) == ["é".encode(), b"a"]


def test_bfloat16_without_ml_dtypes_is_read_as_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = tensor_pb2.TensorProto()
    tensors.write_tensor(proto, np.array([1.5, -2.0], ml_dtypes.bfloat16))
    monkeypatch.setattr(tensors, "_bfloat16", None)
    array = tensors.to_array(proto)
    assert array.dtype == np.float32
    assert array.tolist() == [1.5, -2.0]


@pytest.mark.parametrize("array", [np.array(["2020-01-01"], "M8[D]"), np.array([1, None])])
def test_arrays_tensorflow_has_no_type_for(array: np.ndarray) -> None:
    with pytest.raises(ValueError):
        tensors.write_tensor(tensor_pb2.TensorProto(), array)
