"""Inputs held against a signature: what is cast, and what each error says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.client.batches import join, split
from serving.client.checks import as_declared, numpy_dtype
from serving.client.inputs import to_inputs
from serving.client.model_types import Signature, TensorInfo
from tfx_pipeline.errors import DataError

DENSE = Signature({"x": TensorInfo("float", (None, 3))}, {})
TWO = Signature(
    {"fare": TensorInfo("float", (None,)), "company": TensorInfo("string", (None,))}, {}
)
EXAMPLES = Signature({"examples": TensorInfo("string", (None,))}, {})
INTS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@pytest.mark.parametrize(
    ("rows", "signature", "message"),
    [
        (
            np.ones((2, 4)),
            DENSE,
            "input x must be float [?, 3], and was given double [2, 4]\nA ? may be of any size.",
        ),
        (
            np.ones(3, np.float32),
            DENSE,
            "input x must be float [?, 3], and was given float [3]\nThe first dimension is the row",
        ),
        (
            {"x": [["a", "b", "1"]]},
            DENSE,
            "input x must be float [?, 3], and was given string [1, 3]\n'a' is no float.",
        ),
        ({"x": [[1, 2, 3], [4]]}, DENSE, "was given lists of unlike lengths"),
        ({"x": [[1 + 1j, 2, 3]]}, DENSE, "and was given complex128 [1, 3]"),
        (
            {"X": [[1, 2, 3]]},
            DENSE,
            "the signature has no input X; it lacks x\n"
            "Did you mean x? The signature takes x: float [?, 3].",
        ),
        ({}, DENSE, "no input x"),
        (np.ones(3), TWO, "one array for a signature of 2 inputs"),
        ([{"fare": 1.0}], TWO, "no input company"),
        (
            [{"fare": 1.0, "company": "a"}, {"fare": 2.0}],
            TWO,
            "row 2: the row has no company",
        ),
        (
            {"fare": [1.0], "company": [3]},
            TWO,
            "input company must be string [?], and was given string [1]\nGive texts or bytes.",
        ),
        ({"fare": 1.0}, EXAMPLES, "takes rows, and was given the inputs fare\nGive rows as a list"),
        ({"fare": [1e39], "company": ["a"]}, TWO, "input fare must be float [?]"),
        (b"a", EXAMPLES, "a bytes is no list of rows"),
    ],
)
def test_what_is_wrong(rows: Any, signature: Signature, message: str) -> None:
    with pytest.raises(DataError) as caught:
        to_inputs(rows, signature)
    assert message in str(caught.value)


def test_inputs_with_a_default_may_be_left_out() -> None:
    signature = Signature(TWO.inputs, {}, frozenset({"company"}))
    assert list(to_inputs({"fare": [1.0]}, signature)) == ["fare"]
    with pytest.raises(DataError, match="no input fare"):
        to_inputs({"company": ["a"]}, signature)


def test_csv_texts_become_numbers() -> None:
    inputs = to_inputs([{"fare": "1.5", "company": "3"}, {"fare": 2, "company": b"4"}], TWO)
    assert inputs["fare"].tolist() == [1.5, 2.0]
    assert inputs["fare"].dtype == np.float32
    assert inputs["company"].tolist() == ["3", b"4"]


@given(given=arrays.arrays(st.sampled_from(INTS), st.integers(0, 4)), name=st.sampled_from(INTS))
def test_whole_numbers_are_cast_exactly_or_refused(given: np.ndarray, name: str) -> None:
    wanted = numpy_dtype(name)
    bounds = np.iinfo(wanted)
    fits = all(bounds.min <= value <= bounds.max for value in given.tolist())
    try:
        cast = as_declared("x", given, TensorInfo(name, (None,)))
    except DataError:
        assert not fits
    else:
        assert fits
        assert cast.tolist() == given.tolist()
        assert cast.dtype == wanted


@given(st.lists(st.floats(width=64, allow_nan=True)))
def test_floats_are_rounded_but_never_made_infinite(values: list[float]) -> None:
    with np.errstate(over="ignore"):
        rounded = np.asarray(values, np.float64).astype(np.float32)
    overflows = (np.isinf(rounded) & np.isfinite(np.asarray(values, np.float64))).any()
    try:
        cast = as_declared("x", values, TensorInfo("float", (None,)))
    except DataError:
        assert overflows
    else:
        assert not overflows
        np.testing.assert_array_equal(cast, rounded)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (np.array([1.0]), "int64"),
        (np.array([1]), "bool"),
        (np.array([True]), "string"),
        (np.array([2**53 + 1]), "double"),
        (np.array([1j]), "float"),
        (np.array(["yes"], dtype=object), "bool"),
    ],
)
def test_casts_that_would_change_values(values: np.ndarray, name: str) -> None:
    with pytest.raises(DataError, match="input x must be"):
        as_declared("x", values, TensorInfo(name, None))


@given(st.integers(0, 20), st.integers(1, 7))
def test_what_is_split_joins_again(rows: int, batch_size: int) -> None:
    inputs = {"a": np.arange(rows), "b": np.arange(2 * rows).reshape(rows, 2)}
    parts = list(split(inputs, batch_size))
    sizes = [len(part["a"]) for part in parts]
    assert max(sizes) <= batch_size
    joined = join(parts, sizes)
    for name, array in inputs.items():
        np.testing.assert_array_equal(joined[name], array)
