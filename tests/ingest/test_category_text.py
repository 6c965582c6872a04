"""A value that is a category has one text, in the training data and in a request."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from serving.client import encode_examples
from serving.client.messages import Example
from tfx_pipeline.ingest.values import typed_lists

CASES = [
    (pa.int64(), 3, "3"),
    (pa.int8(), -7, "-7"),
    (pa.uint64(), 2**64 - 1, "18446744073709551615"),
    (pa.float64(), 3.0, "3"),
    (pa.float64(), -0.0, "0"),
    (pa.float64(), 0.1, "0.1"),
    (pa.float64(), 1e-05, "1e-05"),
    (pa.float64(), 1e16, "10000000000000000"),
    (pa.float64(), 1e300, "1e+300"),
    (pa.float32(), np.float32(0.1), "0.1"),
    (pa.float32(), np.float32(3.0), "3"),
    (pa.float16(), np.float16(0.5), "0.5"),
    (pa.bool_(), True, "true"),
    (pa.bool_(), np.False_, "false"),
    (pa.decimal128(10, 2), Decimal("3.00"), "3"),
    (pa.decimal128(10, 2), Decimal("1200.50"), "1200.5"),
    (pa.decimal128(38, 0), Decimal(10**37), str(10**37)),
    (pa.string(), "3.0", "3.0"),
    (pa.binary(), b"\xff", b"\xff"),
]


def requested(value: Any) -> list[bytes]:
    example = Example.FromString(encode_examples([{"x": value}], {"x": "bytes"})[0])
    return list(example.features.feature["x"].bytes_list.value)


@pytest.mark.parametrize(("arrow_type", "value", "text"), CASES, ids=repr)
def test_training_and_a_request_have_the_same_text(
    arrow_type: pa.DataType, value: Any, text: str | bytes
) -> None:
    expected = [text.encode() if isinstance(text, str) else text]
    column = pa.array([None, value, value], arrow_type)
    trained, faults = typed_lists(column, "bytes", [])
    assert not faults
    assert trained.to_pylist() == [[], expected, expected]
    assert requested(value) == expected


def test_nan_is_missing_on_both_sides() -> None:
    trained, faults = typed_lists(pa.array([float("nan"), 1.5]), "bytes", [])
    assert not faults
    assert trained.to_pylist() == [[], [b"1.5"]]
    assert requested(float("nan")) == []


def test_a_dictionary_of_numbers_reads_as_the_numbers() -> None:
    column = pa.array([2.0, 2.5, None, 2.0]).dictionary_encode()
    trained, _ = typed_lists(column, "bytes", [])
    assert trained.to_pylist() == [[b"2"], [b"2.5"], [], [b"2"]]
