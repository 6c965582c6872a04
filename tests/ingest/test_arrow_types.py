"""Columns of every Arrow type that Parquet can hold: typed, or refused in our words."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tests.ingest.conftest import make_source, read_source
from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest.values import typed_lists
from transform.config import StorageType

KINDS: tuple[StorageType, ...] = ("float", "int", "bytes")
REFUSED = {
    "duration": pa.array([5, None], pa.duration("s")),
    "interval": pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
    "struct": pa.array([{"a": 1}, None]),
    "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
    "lists in lists": pa.array([[[1]], None]),
    "structs in lists": pa.array([[{"a": 1}], None]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_no_feature_takes_is_refused_with_its_type(name: str, kind: StorageType) -> None:
    _, faults = typed_lists(REFUSED[name], kind, [])
    [fault] = faults
    assert fault.row == 0
    assert "which no feature takes" in fault.problem


def test_the_column_is_named(tmp_path: Any) -> None:
    from pyarrow import parquet

    path = str(tmp_path / "rows.parquet")
    table = pa.table({"took": pa.array([1, 2, 3], pa.duration("s")), "y": [1.0, 2.0, 3.0]})
    parquet.write_table(table, path)
    with pytest.raises(DataError, match=r"column 'took': .*duration\[s\], which no feature takes"):
        read_source(make_source(path, {"took": "float"}))


def test_a_large_unsigned_integer_is_no_int64() -> None:
    column = pa.array([1, 2**63, 2**64 - 1], pa.uint64())
    _, [fault] = typed_lists(column, "int", [])
    assert (fault.row, fault.value, fault.count) == (1, str(2**63), 2)
    assert "64-bit" in fault.problem
    assert typed_lists(column, "float", [])[0].to_pylist()[1] == [2.0**63]


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        (pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)), "float", [[1.0, 2.0], []]),
        (pa.array([["a"], None], pa.list_(pa.string(), 1)), "bytes", [[b"a"], []]),
        (
            pa.ListArray.from_arrays([0, 2, 2], pa.array(["1", "2"]).dictionary_encode()),
            "int",
            [[1, 2], []],
        ),
    ],
    ids=["floats of fixed size", "texts of fixed size", "a dictionary in lists"],
)
def test_lists_of_every_sort(column: pa.Array, kind: StorageType, expected: list[Any]) -> None:
    typed, faults = typed_lists(column, kind, [])
    assert not faults
    assert typed.to_pylist() == expected


@pytest.mark.parametrize("arrow_type", [pa.int16(), pa.float32(), pa.decimal128(21, 2)])
def test_a_number_that_means_missing_is_missing_in_columns_of_numbers_too(
    arrow_type: pa.DataType,
) -> None:
    column = pa.array([-999, 5, None]).cast(arrow_type)
    for kind, five in (("float", 5.0), ("int", 5), ("bytes", b"5")):
        typed, _ = typed_lists(column, kind, ["-999", "?"])
        assert typed.to_pylist() == [[], [five], []]
