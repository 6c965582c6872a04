"""Requests that begin alike are read as those that do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from serving.server.predict_request import RequestReader
from serving.server.status import RequestError
from serving.tensors import to_array, write_tensor

DTYPES = [np.float32, np.int64, np.uint8, np.bool_, np.complex64]
TENSORS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=2, min_side=0, max_side=3))
)
REQUESTS = st.builds(
    lambda name, signature, inputs, filters, content: build(
        name, signature, inputs, filters, content
    ),
    st.sampled_from(["m", "n", "a model with a name of more than sixteen characters"]),
    st.sampled_from(["", "dense"]),
    st.dictionaries(st.sampled_from(["x", "y"]), TENSORS, max_size=2),
    st.lists(st.sampled_from(["p", "q"]), max_size=2),
    st.booleans(),
)


def build(
    name: str,
    signature: str,
    inputs: dict[str, np.ndarray],
    filters: list[str],
    content: bool = True,
) -> bytes:
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for alias, array in inputs.items():
        write_tensor(request.inputs[alias], array, as_tensor_content=content)
    request.output_filter.extend(filters)
    return bytes(request.SerializeToString())


def check(reader: RequestReader, data: bytes) -> bool:
    """Compares with protobuf's own reading; whether the inputs came with the message."""
    expected = PredictRequest.FromString(data)
    request, arrays = reader.read(data)
    assert request.model_spec == expected.model_spec
    assert request.output_filter == expected.output_filter
    if arrays is None:
        assert request == expected
        return False
    assert arrays.keys() == expected.inputs.keys()
    for alias, array in arrays.items():
        wanted = to_array(expected.inputs[alias])
        assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
        assert array.tobytes() == wanted.tobytes()
        assert array.flags.aligned
    return True


@settings(max_examples=200, deadline=None)
@given(requests=st.lists(REQUESTS, max_size=12))
def test_any_requests_one_after_another(requests: list[bytes]) -> None:
    reader = RequestReader()
    for data in requests * 2:
        check(reader, data)


def test_the_second_of_a_kind_is_not_parsed_again() -> None:
    reader, rows = RequestReader(), np.random.default_rng(1).random((5, 1, 8), np.float32)
    assert [check(reader, build("m", "", {"x": row}, [])) for row in rows] == [False] + [True] * 4
    assert not check(reader, build("m", "", {"x": np.ones((1, 9), np.float32)}, []))
    assert not check(reader, build("n", "", {"x": rows[0]}, []))
    assert check(reader, build("m", "", {"x": rows[0]}, []))


def test_an_end_that_only_looks_like_the_tensor() -> None:
    reader = RequestReader()
    for last in (b"abcd", b"efgh"):
        data = build("m", "", {"x": np.frombuffer(b"abcd", np.float32)}, [last.decode()])
        assert not check(reader, data)


def test_a_few_kinds_may_begin_alike_and_others_are_parsed() -> None:
    reader, row = RequestReader(), np.ones(2, np.float32)
    name = "a model with a name of more than sixteen characters"
    requests = [build(name + end, "", {"x": row}, []) for end in "123456"]
    assert [check(reader, data) for data in requests] == [False] * 6
    assert [check(reader, data) for data in requests] == [True] * 4 + [False] * 2


def test_what_is_kept_is_bounded() -> None:
    reader = RequestReader()
    for size in range(1, 600):
        check(reader, build("m", "", {"x": np.zeros(size, np.uint8)}, []))
    assert len(reader._known) <= 256


def test_bytes_that_are_no_request() -> None:
    with pytest.raises(RequestError, match=r"no valid tensorflow\.serving\.PredictRequest"):
        RequestReader().read(b"\xff\xff")
