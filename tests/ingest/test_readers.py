"""What is read is what was written, whatever the file looks like."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from tests.ingest.conftest import make_source, numbers_csv, read_source
from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest import csv_reader
from tfx_pipeline.ingest.files import find_files, left_out

Write = Callable[..., str]
BY_Y = {"method": "time", "column": "y", "eval_fraction": 0.4, "val_fraction": 0}
XYS = {"x": "float", "n": "int", "s": "bytes"}


def read(paths: Any, types: Any = None, **data: Any) -> dict[str, list[Any]]:
    return read_source(make_source(paths, types, **{"split": BY_Y, **data}))


def test_values_are_typed_by_the_kind_and_not_by_their_looks(write: Write) -> None:
    path = write("x,n,s,y\n1,7,1,1\n 2.5 ,8.0,2,2\n+3,9007199254740993,,3\n,,x,4\n")
    rows = read(path, XYS)
    assert rows["x"] == [[1.0], [2.5], [3.0], []]
    assert rows["n"][:2] == [[7], [8]]
    assert rows["n"][3] == []
    assert rows["s"] == [[b"1"], [b"2"], [], [b"x"]]


def test_large_integers_are_exact(write: Write) -> None:
    rows = read(write("n,y\n9007199254740993,1\n-9223372036854775808,2\n"), {"n": "int"})
    assert rows["n"] == [[9007199254740993], [-9223372036854775808]]


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbfx,s,y\r\n1,"a\r\nb",2\r\n3,"c""d",4\r\n',
        b'x,s,y\n\n1,"a\r\nb",2\n\n\n3,"c""d",4',
    ],
)
def test_byte_order_mark_line_ends_and_quotes(write: Write, content: bytes) -> None:
    rows = read(write(content), {"x": "float", "s": "bytes"})
    assert rows["x"] == [[1.0], [3.0]]
    assert rows["s"] == [[b"a\r\nb"], [b'c"d']]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8"])
def test_encodings(write: Write, encoding: str) -> None:
    path = write("s,größe,y\ncafé,1,1\nthé,2,2\n".encode(encoding))
    rows = read(path, {"s": "bytes", "größe": "float"}, encoding=encoding)
    assert rows["s"] == [["café".encode()], ["thé".encode()]]


def zstd(content: bytes) -> bytes:
    compressed: bytes = pa.Codec("zstd").compress(content, asbytes=True)
    return compressed


@pytest.mark.parametrize(
    ("ending", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".zst", zstd)]
)
def test_compressed_csv(write: Write, ending: str, compress: Callable[[bytes], bytes]) -> None:
    assert read(write(compress(b"x,y\n1,2\n3,4\n"), "a.csv" + ending))["x"] == [[1.0], [3.0]]


def test_odd_column_names(write: Write) -> None:
    names = ["a b", 'say "x"', "naïve", "a,b", "a.b", "0"]
    text = io.StringIO()
    csv.writer(text).writerows([[*names, "y"], [*range(6), 1], [*range(6), 2]])
    rows = read(write(text.getvalue()), dict.fromkeys(names, "float"))
    assert [rows[name][0] for name in names] == [[float(i)] for i in range(6)]


def test_spaces_after_the_delimiter(write: Write) -> None:
    path = write('39, State-gov, "a, b", 1\n50, ?, c, 2\n')
    rows = read(
        path,
        {"x": "float", "s": "bytes", "t": "bytes"},
        strip_spaces=True,
        column_names=["x", "s", "t", "y"],
        missing_values=["?"],
    )
    assert rows["s"] == [[b"State-gov"], []]
    assert rows["t"] == [[b"a, b"], [b"c"]]


def test_other_columns_are_left_out(write: Write) -> None:
    source = make_source(write("x,junk,y\n1,a,2\n3,b,4\n"), split=BY_Y)
    assert set(read_source(source)) == {"split", "x", "y"}


def test_rows_across_blocks(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(numbers_csv(500))
    whole = read(path)
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 1000)
    assert read(path) == whole


@pytest.mark.parametrize("block", range(20, 40))
def test_line_ends_inside_values_survive_any_block(
    write: Write, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """pyarrow alone loses the \\n where a block ends between \\r and \\n."""
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", block)
    path = write(b"s,y\r\n" + b"".join(b'"x\r\ny",%d\r\n' % row for row in range(40)))
    assert read(path, {"s": "bytes"})["s"] == [[b"x\r\ny"]] * 40


def test_a_fault_in_a_later_block_names_its_line(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 1000)
    with pytest.raises(DataError, match="line 502, column 'x': 'oops'"):
        read(write(numbers_csv(500) + "oops,1\n"))


def test_several_files_in_any_layout(write: Write, tmp_path: Path) -> None:
    write("x,y\n1,1\n", "d/a.csv")
    write("y,x\n2,2\n", "d/part=2/b.csv")
    write("x,y\n9,9\n", "d/.hidden.csv")
    write("", "d/_SUCCESS")
    assert read(str(tmp_path / "d"))["x"] == [[1.0], [2.0]]
    assert read(str(tmp_path / "d" / "**" / "[ab].csv"))["x"] == [[1.0], [2.0]]


def test_what_is_no_data_by_its_ending_is_left_out(write: Write, tmp_path: Path) -> None:
    """Whether the format is stated or not; where no ending tells, a stated format says it all."""
    write("x,y\n1,1\n", "d/a.csv")
    write("x,y\n2,", "d/b.csv.tmp")
    write("x,y\n3,3\n", "d/copy.csv.bak")
    folder = str(tmp_path / "d")
    for data in ({}, {"format": "csv"}):
        source = make_source(folder, **data)
        assert [file.path.name for file in find_files(source)] == ["a.csv"]
        assert [path.name for path in left_out(source)] == ["b.csv.tmp", "copy.csv.bak"]
    (tmp_path / "d/a.csv").unlink()
    (tmp_path / "d/b.csv.tmp").unlink()
    source = make_source(folder, format="csv")
    assert [file.path.name for file in find_files(source)] == ["copy.csv.bak"]
    assert left_out(source) == []
    (tmp_path / "d/copy.csv.bak").unlink()
    with pytest.raises(DataError, match="the folder is empty"):
        find_files(source)


def test_parquet_types(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    table = pa.table(
        {
            "x": pa.array([1, None], pa.int16()),
            "flag": [True, False],
            "s": pa.array(["a", "b"]).dictionary_encode(),
            "when": pa.array([0, 86_399_000_000], pa.timestamp("us", "UTC")),
            "tags": [["p", "q"], []],
            "raw": [b"\xff\x00", b""],
            "y": [1.0, 2.0],
        }
    )
    parquet.write_table(table, path)
    types = {"x": "float", "flag": "float", "s": "bytes", "when": "bytes", "tags": "bytes"}
    rows = read(path, {**types, "raw": "bytes"})
    assert rows["x"] == [[1.0], []]
    assert rows["flag"] == [[1.0], [0.0]]
    assert rows["s"] == [[b"a"], [b"b"]]
    assert rows["when"] == [[b"1970-01-01T00:00:00"], [b"1970-01-01T23:59:59"]]
    assert rows["tags"] == [[b"p", b"q"], []]
    assert rows["raw"] == [[b"\xff\x00"], []]


@pytest.mark.parametrize("ending", [".arrow", ".feather", ".arrows"])
def test_arrow(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    words = pa.array(["a", "b", None]).dictionary_encode()
    table = pa.table({"x": [1, None, 3], "s": words, "l": [["p"], [], ["q"]], "y": [1.0, 2.0, 3.0]})
    if ending == ".feather":
        feather.write_feather(table, path, compression="zstd")
    else:
        new = pa.ipc.new_stream if ending == ".arrows" else pa.ipc.new_file
        with new(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    rows = read(str(path), {"x": "float", "s": "bytes", "l": "bytes"})
    assert rows["x"] == [[1.0], [], [3.0]]
    assert rows["s"] == [[b"a"], [b"b"], []]
    assert rows["l"] == [[b"p"], [], [b"q"]]
    with pytest.raises(DataError, match="no column 'z'"):
        read(str(path), {"z": "float"})


def test_tfrecord_of_multivalent_examples(tmp_path: Path) -> None:
    import tensorflow as tf

    def example(x: list[float], s: list[bytes], y: int) -> bytes:
        feature = {
            "x": tf.train.Feature(float_list=tf.train.FloatList(value=x)),
            "s": tf.train.Feature(bytes_list=tf.train.BytesList(value=s)),
            "y": tf.train.Feature(int64_list=tf.train.Int64List(value=[y])),
        }
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    for compression in ("", "GZIP"):
        path = str(tmp_path / f"a{compression}.tfrecord")
        with tf.io.TFRecordWriter(path, compression) as writer:
            writer.write(example([1.0, 2.0], [b"a"], 1))
            writer.write(example([], [b"b", b"c"], 2))
        rows = read(path, {"x": "float", "s": "bytes"})
        assert rows["x"] == [[1.0, 2.0], []]
        assert rows["s"] == [[b"a"], [b"b", b"c"]]
        assert rows["y"] == [[1.0], [2.0]]
        with pytest.raises(DataError, match="no column 'z'"):
            read(path, {"z": "float"})


def test_mnist_examples(shared_data: Path) -> None:
    rows = read_source(
        make_source(
            str(shared_data / "mnist_1000.tfrecord"),
            {"image_floats": "float"},
            label={"column": "image_class", "task": "multiclass", "classes": list("0123456789")},
        )
    )
    assert np.shape(rows["image_floats"]) == (1000, 784)
    assert {value for [value] in rows["image_class"]} == {str(i).encode() for i in range(10)}


_TEXT = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00\r"), max_size=8
)
_FLOAT = st.floats(allow_nan=False, allow_infinity=False, width=32)
_ROW = st.tuples(
    st.none() | _FLOAT, st.none() | st.integers(-(2**63), 2**63 - 1), st.none() | _TEXT, _FLOAT
)


@given(rows=st.lists(_ROW, min_size=1, max_size=30), name=_TEXT.filter(str.strip))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_typed_rows_come_back(tmp_path: Path, rows: list[tuple[Any, ...]], name: str) -> None:
    """Random typed rows -> CSV -> tf.Example columns with equal values."""
    from tfx_pipeline.ingest.files import InputFile
    from tfx_pipeline.ingest.readers import chunks
    from tfx_pipeline.ingest.values import typed_lists

    name = f"s{name}"
    path = tmp_path / "any.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["x", "n", name, "y"])
        writer.writerows([["" if value is None else value for value in row] for row in rows])
    types = {"x": "float", "n": "int", name: "bytes"}
    source = make_source(str(path), types)
    found: dict[str, list[Any]] = {column: [] for column in source.types}
    for chunk in chunks([InputFile(path, "csv")], source):
        for column, kind in source.types.items():
            lists, faults = typed_lists(chunk.rows.column(column), kind, [])
            assert not faults
            found[column] += lists.to_pylist()
    assert found["x"] == [[] if x is None else [np.float32(x)] for x, *_ in rows]
    assert found["n"] == [[] if n is None else [n] for _, n, *_ in rows]
    assert found[name] == [[s.encode()] if s else [] for _, _, s, _ in rows]
    assert found["y"] == [[np.float32(y)] for *_, y in rows]


@pytest.mark.parametrize(
    ("form", "texts", "numbers"),
    [
        ({"decimal": ","}, ["27,37", "-8", ",5", "1,5e3", " 7,0 "], [27.37, -8, 0.5, 1500, 7]),
        ({"decimal": ",", "thousands": "."}, ["1.234,5", "1.234.567", "12"], [1234.5, 1234567, 12]),
        ({"thousands": ","}, ["1,234.5", "0.25"], [1234.5, 0.25]),
        ({"decimal": ",", "thousands": " "}, ["1 234,5", "1\u202f234"], [1234.5, 1234]),
        ({"thousands": "'"}, ["1'234.5"], [1234.5]),
    ],
)
def test_numbers_are_read_in_the_form_of_the_config(
    write: Write, form: dict[str, str], texts: list[str], numbers: list[float]
) -> None:
    path = write("x;y\n" + "".join(f"{text};{row}\n" for row, text in enumerate(texts * 20)))
    source = make_source(path, delimiter=";", split={"val_fraction": 0}, **form)
    assert read_source(source)["x"][: len(numbers)] == [[pytest.approx(n)] for n in numbers]
