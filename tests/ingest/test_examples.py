"""Our encoder writes the messages that tfx_bsl's writes, with the features sorted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.client.messages import Example
from tfx_pipeline.ingest.examples import encode_examples

TYPES = {"f": pa.float32(), "i": pa.int64(), "b": pa.large_binary()}
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "f": st.floats(width=32, allow_nan=False),
    "i": st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 300),
    "b": st.binary(max_size=300),
}
_COLUMN = st.sampled_from("fib").flatmap(
    lambda kind: st.tuples(
        st.just(kind), st.lists(st.lists(_VALUES[kind], max_size=3), min_size=4, max_size=4)
    )
)
_NAME = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=200)


def batch(columns: dict[str, tuple[str, list[list[Any]]]]) -> pa.RecordBatch:
    arrays = [pa.array(rows, pa.large_list(TYPES[kind])) for kind, rows in columns.values()]
    return pa.RecordBatch.from_arrays(arrays, list(columns))


@given(columns=st.dictionaries(_NAME, _COLUMN, min_size=1, max_size=5))
@settings(max_examples=80, deadline=None)
def test_the_messages_are_those_of_tfx_bsl(
    columns: dict[str, tuple[str, list[list[Any]]]],
) -> None:
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    rows = batch(columns)
    theirs = RecordBatchToExamplesEncoder().encode(rows)
    ours = encode_examples(rows)
    assert [len(record) for record in ours] == [len(record) for record in theirs]
    for our, their in zip(ours, theirs, strict=True):
        assert Example.FromString(our) == Example.FromString(their)


def test_the_features_are_sorted() -> None:
    rows = batch({name: ("i", [[1]]) for name in ("b", "a", "c")})
    [record] = encode_examples(rows)
    assert [record.index(name) for name in (b"a", b"b", b"c")] == sorted(
        record.index(name) for name in (b"a", b"b", b"c")
    )


def test_slices_and_rows_of_none() -> None:
    rows = batch({"x": ("f", [[1.0], [], [2.0, 3.0]]), "s": ("b", [[], [b"ab"], [b""]])})
    assert encode_examples(rows.slice(1, 2)) == encode_examples(rows)[1:]
    assert encode_examples(rows.slice(3)) == []


@pytest.mark.parametrize("size", [1, 127, 128, 16_383, 16_384, 70_000])
def test_long_values(size: int) -> None:
    floats = np.arange(size, dtype=np.float32).tolist()
    rows = batch({"f": ("f", [floats]), "b": ("b", [[b"x" * size]]), "i": ("i", [[7] * size])})
    [record] = encode_examples(rows)
    features = Example.FromString(record).features.feature
    assert list(features["f"].float_list.value) == floats
    assert features["b"].bytes_list.value[0] == b"x" * size
    assert list(features["i"].int64_list.value) == [7] * size
