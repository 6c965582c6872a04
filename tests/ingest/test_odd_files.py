"""Files and values that are odd: what is read of them, and what is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.ingest.conftest import error_of, make_source, no_val, numbers_csv, read_source
from tfx_pipeline.ingest import csv_reader

Write = Callable[..., str]


@pytest.mark.parametrize("last", ["2", "2.5", "two"])
def test_a_column_that_changes_in_its_last_row(
    write: Write, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """Its type is the config's: whatever the first rows look like, the last one counts."""
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 500)
    path = write("x,y\n" + "".join(f"{n},{n}\n" for n in range(1000)) + f"{last},7\n")
    assert read_source(make_source(path, {"x": "bytes"}))["x"][-1] == [last.encode()]
    if last == "two":
        assert "line 1002, column 'x': 'two' is not a number" in error_of(path)
    else:
        assert read_source(make_source(path))["x"][-1] == [float(last)]
    if last == "2.5":
        assert "line 1002, column 'x': '2.5' is not a whole number" in error_of(path, {"x": "int"})


def test_whole_numbers_that_a_float32_rounds_are_told(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = write("x,y\n16777216,1\n16777217,2\n1e20,3\n9007199254740991,4\n0.1,5\n")
    rows = read_source(make_source(path, split=no_val(path)))
    assert rows["x"][1] == [16777216.0]
    assert "column 'x': 3 times a value is a whole number that a float32 rounds" in caplog.text
    exact = read_source(
        make_source(
            write("x,y\n9007199254740993,1\n8.0,2\n,3\n1e3,4\n"), {"x": "int"}, split=no_val(path)
        )
    )
    assert exact["x"] == [[9007199254740993], [8], [], [1000]]


def test_empty_and_quoted_empty_are_both_missing(write: Write, tmp_path: Path) -> None:
    path = write('x,s,y\n,"",1\n"", ,2\n1,a,3\n')
    rows = read_source(make_source(path, {"x": "float", "s": "bytes"}, split=no_val(path)))
    assert rows["x"] == [[], [], [1.0]]
    assert rows["s"] == [[], [b" "], [b"a"]]
    path = str(tmp_path / "a.parquet")
    parquet.write_table(pa.table({"s": ["", None, "a"], "y": [1.0, 2.0, 3.0]}), path)
    assert read_source(make_source(path, {"s": "bytes"}, split=no_val(path)))["s"] == [
        [],
        [],
        [b"a"],
    ]


def test_line_ends_of_every_sort_in_one_file(write: Write) -> None:
    path = write(b'\xef\xbb\xbfx,s,y\r\n1,"a\nb",1\n2,"c\r\nd",2\r\n\r\n3,e,3\n\n4,"f,""g""",4')
    rows = read_source(make_source(path, {"x": "float", "s": "bytes"}, split=no_val(path)))
    assert rows["x"] == [[1.0], [2.0], [3.0], [4.0]]
    assert rows["s"] == [[b"a\nb"], [b"c\r\nd"], [b"e"], [b'f,"g"']]


def test_one_row(write: Write) -> None:
    assert "the label is 2.0 in all 1 rows" in error_of(write("x,y\n1,2\n"))


def test_ten_thousand_columns(write: Write) -> None:
    names = [f"c{n}" for n in range(10_000)]
    rows = [",".join(str(n * row % 7) for n in range(10_000)) for row in range(3)]
    path = write("\n".join([",".join([*names, "y"]), *(f"{r},{n}" for n, r in enumerate(rows))]))
    read = read_source(make_source(path, dict.fromkeys(names, "float"), split=no_val(path)))
    assert read["c9999"] == [[9999 * row % 7] for row in range(3)]


@pytest.mark.parametrize("damage", ["cut", "none"])
def test_a_damaged_zstd(write: Write, damage: str) -> None:
    content = pa.Codec("zstd").compress(numbers_csv(5000).encode(), asbytes=True)
    content = content[: len(content) // 2] if damage == "cut" else b"x,y\n1,2\n"
    text = error_of(write(content, "a.csv.zst"))
    assert "a.csv.zst: the " in text
    assert "damaged" in text or "cannot be read" in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"x,y\n1,2\n", "is no Arrow IPC"),
        (b"FEA1" + bytes(20), "Feather version 1"),
        (b"ARROW1\0\0" + bytes(20), "is no Arrow IPC, or is cut"),
    ],
)
def test_an_arrow_file_that_is_none(write: Write, content: bytes, says: str) -> None:
    assert says in error_of(write(content, "a.feather"))


def test_an_arrow_stream_that_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.arrows"
    batch = pa.record_batch({"x": [1.0] * 1000, "y": [float(n) for n in range(1000)]})
    with pa.ipc.new_stream(path, batch.schema) as writer:
        for _ in range(3):
            writer.write_batch(batch)
    path.write_bytes(path.read_bytes()[:30_000])
    assert "a.arrows: the Arrow file is damaged" in error_of(str(path))


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_name_that_is_there_twice(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    columns = [pa.array([1.0, 2.0])] * 3
    table = pa.Table.from_arrays(columns, names=["x", "y", "x"])
    if ending == "parquet":
        parquet.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    assert f"rows.{ending}: the file has the column 'x' twice" in error_of(str(path))
