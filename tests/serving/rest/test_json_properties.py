"""Properties: tensors survive JSON both ways; any JSON is either taken or refused with words."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from serving.server.rest.parsing import parse_object
from serving.server.rest.predict_json import read_tensors
from serving.server.rest.values import fault, tensor
from serving.server.rest.writing import columns_json, decimals, rows_json
from serving.server.status import RequestError
from serving.tensors import DTYPE_NAMES, dtype_number

NUMERIC = ["f4", "f8", "f2", "i4", "i8", "i2", "i1", "u1", "u2", "u4", "u8", "?"]
SHAPES = npst.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.integers(-3, 3),
    st.sampled_from([10**400, 1e39, 2**24, 2**53]),
    st.floats(),
    st.floats(width=32),
    st.text(max_size=3),
    st.fixed_dictionaries({"b64": st.sampled_from(["YQ==", "YQ", "?", ""])}),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "w", "b64"]), inner, max_size=2)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("dtype", NUMERIC)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_numbers_survive_both_ways(dtype: str, data: st.DataObject) -> None:
    array = data.draw(npst.arrays(np.dtype(dtype), SHAPES))
    for write, key in ((rows_json, "predictions"), (columns_json, "outputs")):
        value = json.loads(write({"y": array}))[key]
        back = tensor(value, dtype_number(array))
        if back is None:  # the nine digits of the largest float32 are a larger double
            assert np.nanmax(np.abs(array.astype(np.float64))) >= 3.4e38
            continue
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


@settings(max_examples=60, deadline=None)
@given(array=npst.arrays(object, SHAPES, elements=st.binary(max_size=5)))
def test_bytes_survive_both_ways(array: np.ndarray[Any, Any]) -> None:
    value = json.loads(columns_json({"y_bytes": array}))["outputs"]
    assert tensor(value, 7).tolist() == array.tolist()
    # Text is written as it is, bytes that are no UTF-8 among it.
    document = parse_object(columns_json({"y": array}))
    assert tensor(document["outputs"], 7).tolist() == array.tolist()


@settings(max_examples=200, deadline=None)
@given(values=st.lists(st.floats(width=32), min_size=1))
def test_floats_are_written_exactly(values: list[float]) -> None:
    array = np.array(values, np.float32)
    texts = decimals(array)
    assert all("." in text or "e" in text or text in ("NaN", "Infinity", "-Infinity")
               for text in texts)  # fmt: skip
    back = np.array([json.loads(text) for text in texts], np.float64).astype(np.float32)
    np.testing.assert_array_equal(back, array)


@settings(max_examples=400, deadline=None)
@given(value=VALUES, dtype=st.sampled_from(sorted(DTYPE_NAMES)))
def test_a_value_is_either_taken_or_explained(value: Any, dtype: int) -> None:
    array, found = tensor(value, dtype), fault(value, dtype)
    assert (array is None) is (found is not None)


@settings(max_examples=400, deadline=None)
@given(
    instances=st.lists(VALUES, min_size=1, max_size=4),
    dtypes=st.sampled_from([{"x": 1}, {"x": 9}, {"x": 7}, {"x": 1, "w": 7}]),
)
def test_rows_are_read_as_one_by_one(instances: list[Any], dtypes: dict[str, int]) -> None:
    try:
        whole, in_rows = read_tensors({"instances": instances}, "", dtypes)
    except RequestError as error:
        found = error
    else:
        found = None
    if found:
        assert found.message
        assert "more dimensions" not in found.message
        return
    assert in_rows
    rows = [read_tensors({"instances": [row]}, "", dtypes)[0] for row in instances]
    for name, array in whole.items():
        np.testing.assert_array_equal(array, np.concatenate([row[name] for row in rows]))


@settings(max_examples=150, deadline=None)
@given(
    document=st.fixed_dictionaries(
        {},
        optional={
            "signature_name": st.sampled_from(["two", "string", "int64", "classify", "", "nope"])
            | SCALARS,
            "instances": VALUES,
            "inputs": VALUES,
            "examples": VALUES | st.lists(VALUES),
            "context": VALUES,
        },
    ),
    operation=st.sampled_from(["predict", "classify", "regress"]),
    cut=st.integers(0, 400),
    noise=st.binary(max_size=2),
)
def test_no_body_breaks_the_server(
    http: httpx.Client, document: Any, operation: str, cut: int, noise: bytes
) -> None:
    body = json.dumps(document).encode()
    body = body[:cut] + noise + body[cut:]
    response = http.post(f"/v1/models/kinds:{operation}", content=body)
    assert response.status_code in (200, 400, 501), response.text
    if response.status_code != 200:
        assert list(response.json()) == ["error"]
