"""Every mistake in the data ends in one `DataError` that names file, line, column and value."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.ingest.conftest import error_of, make_source, no_val, numbers_csv, read_source
from tfx_pipeline.ingest import csv_reader

Write = Callable[..., str]

TWO_CLASSES = {"column": "y", "task": "binary", "classes": ["no", "yes"]}


def test_a_missing_file_names_its_neighbours(write: Write, tmp_path: Path) -> None:
    write("x,y\n1,2\n", "trips.csv")
    text = error_of(str(tmp_path / "tripps.csv"))
    assert "tripps.csv: the file does not exist" in text
    assert "Did you mean trips.csv?" in text


def test_a_glob_that_matches_nothing(tmp_path: Path) -> None:
    assert "matches no file" in error_of(str(tmp_path / "*.csv"))


def test_a_folder_without_data(write: Write, tmp_path: Path) -> None:
    write("hello", "README.md")
    assert "holds no data file" in error_of(str(tmp_path))


def test_an_ending_that_tells_nothing(write: Write) -> None:
    text = error_of(write("x,y\n1,2\n", "adult.data"))
    assert "'adult.data' does not tell its format" in text
    assert "`data.format`" in text


def test_files_of_two_formats(write: Write, tmp_path: Path) -> None:
    paths = [write("x,y\n1,2\n"), str(tmp_path / "b.parquet")]
    parquet.write_table(pa.table({"x": [1.0], "y": [2.0]}), paths[1])
    assert "rows.csv is csv, b.parquet is parquet" in error_of(paths)


def test_an_empty_csv(write: Write) -> None:
    assert "rows.csv: the file is empty" in error_of(write(""))


@pytest.mark.parametrize("content", ["x,y", "x,y\n", "x,y\r\n\r\n"])
def test_a_header_without_rows(write: Write, content: str) -> None:
    assert "a header but no rows" in error_of(write(content))


def test_ragged_rows(write: Write) -> None:
    text = error_of(write('x,y\n"1\n",2\n3\n\n4,5,6\n7,8,9\n'))
    assert "rows.csv, line 4: expected 2 fields, found 1; 3 lines are like that" in text


def test_ragged_rows_after_a_space(write: Write) -> None:
    text = error_of(write("x, y\n1, 2\n1, 2, 3\n"), strip_spaces=True)
    assert "line 3: expected 2 fields, found 3" in text


@pytest.mark.parametrize("content", ['x,y\n1,2\n3,"4\n5,6\n', 'x,y\n1,2\n"3,4\n5,6\n'])
def test_a_quote_that_is_never_closed(write: Write, content: str) -> None:
    assert "rows.csv, line 3: a quote is opened and never closed" in error_of(write(content))


def test_a_row_that_never_ends(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 1000)
    text = error_of(write("x,y\n1,2\n3," + "4" * 3000 + "\n"))
    assert "a row is longer than" in text


def test_a_column_that_the_data_lacks(write: Write) -> None:
    text = error_of(write("trip_miles,y\n1,2\n"), {"trip_mile": "float", "fare": "float"})
    assert "there is no column 'trip_mile' (and 'fare')" in text
    assert "Did you mean 'trip_miles'? The columns found: trip_miles, y." in text


def test_a_column_that_only_the_second_file_lacks(write: Write) -> None:
    paths = [write("x,y\n1,2\n", "a.csv"), write("z,y\n1,2\n", "b.csv")]
    text = error_of(paths)
    assert "b.csv: there is no column 'x', which a.csv has" in text


def test_a_column_that_is_there_twice(write: Write) -> None:
    assert "line 1: the header has the column 'x' twice" in error_of(write("x,y,x\n1,2,3\n"))


def test_text_among_numbers(write: Write) -> None:
    text = error_of(write('x,y,t\n1,2,"a\nb"\nabc,2,c\n?,2,d\n4,5,e\n'))
    assert "rows.csv, line 4, column 'x': 'abc' is not a number (2 such values)" in text
    assert "`data.missing_values`" in text


def test_faults_of_several_columns_are_told_at_once(write: Write) -> None:
    text = error_of(write("x,y\na,1\n2,b\nc,3\n"))
    assert "line 2, column 'x': 'a' is not a number (2 such values)" in text
    assert "Also" in text
    assert "line 3, column 'y': 'b' is not a number." in text


def test_a_type_that_changes_between_csv_files(write: Write) -> None:
    paths = [write("x,y\n1,2\n", "a.csv"), write("x,y\none,2\n", "b.csv")]
    text = error_of(paths)
    assert "b.csv, line 2, column 'x': 'one' is not a number" in text
    assert "In a.csv the column holds numbers." in text


def test_a_type_that_changes_between_parquet_files(tmp_path: Path) -> None:
    paths = [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]
    parquet.write_table(pa.table({"x": [1, 2], "y": [1.0, 2.0]}), paths[0])
    parquet.write_table(pa.table({"x": ["1", "2"], "y": [1.0, 2.0]}), paths[1])
    text = error_of(paths)
    assert f"{paths[1]}: the column 'x' holds text here, but numbers in {paths[0]}" in text


@pytest.mark.parametrize("compress", [False, True])
def test_bytes_that_are_no_utf8(write: Write, compress: bool) -> None:
    content = "x,y\n1,2\ncafé,3\n".encode("latin-1")
    name = "rows.csv.gz" if compress else "rows.csv"
    text = error_of(write(gzip.compress(content) if compress else content, name), {"x": "bytes"})
    assert f"{name}, line 3: byte 0xe9 is not UTF-8, near b'caf\\xe9,3\\n'" in text
    assert "iconv" in text


def test_bytes_that_are_no_utf8_in_the_header(write: Write) -> None:
    assert "line 1: byte 0xe9 is not UTF-8" in error_of(write("xé,y\n1,2\n".encode("latin-1")))


@pytest.mark.parametrize("value", ["inf", "-Infinity", "1e39"])
def test_infinity_is_an_error(write: Write, value: str) -> None:
    text = error_of(write(f"x,y\n1,2\n{value},3\n"), missing_values=["NaN"])
    assert "line 3, column 'x'" in text
    assert "is infinite as a float32" in text


def test_nan_is_an_error_unless_it_means_missing(write: Write) -> None:
    path = write("x,y\n1,2\nnan,3\nNaN,4\n")
    text = error_of(path)
    assert "line 3, column 'x': 'nan' is not a number (NaN) (2 such values)" in text
    assert "add NaN to `data.missing_values`" in text
    rows = read_source(make_source(path, missing_values=["NaN"], split=no_val(path)))
    assert rows["x"] == [[1.0], [], []]


def test_a_fraction_in_an_integer_column(write: Write) -> None:
    text = error_of(write("x,y\n1,2\n2.5,3\n"), {"x": "int"})
    assert "line 3, column 'x': '2.5' is not a whole number" in text


def test_a_label_that_is_missing(write: Write) -> None:
    text = error_of(write("x,y\n1,2\n2,\n3,4\n5,\n"))
    assert "rows.csv, line 3, column 'y': the label is missing in 2 rows" in text


def test_a_column_that_the_label_is_compared_with_is_missing(write: Write) -> None:
    label = {"column": "y", "above": 0.2, "of": "x"}
    text = error_of(write("x,y\n1,0\n,2\n1,2\n"), label=label)
    assert "line 3, column 'x': 'x', which the label is compared with, is missing" in text


def test_a_label_outside_its_classes(write: Write) -> None:
    text = error_of(write("x,y\n1,no\n2,yes\n3,maybe\n4,Yes\n"), label=TWO_CLASSES)
    assert "line 4, column 'y': 'maybe' is none of the label's classes (2 such values)" in text
    assert "'no', 'yes'" in text
    assert "'Yes'" in text


def test_a_label_with_spaces_names_the_cure(write: Write) -> None:
    text = error_of(write("x,y\n1, no\n2, yes\n"), label=TWO_CLASSES)
    assert "`data.strip_spaces: true`" in text


def test_a_label_with_one_class(write: Write) -> None:
    text = error_of(write("x,y\n1,no\n2,no\n3,no\n"), label=TWO_CLASSES)
    assert "the label is 'no' in all 3 rows" in text


def test_a_compared_label_with_one_class(write: Write) -> None:
    label = {"column": "y", "above": 0.2, "of": "x"}
    assert "the label is False in all 2 rows" in error_of(write("x,y\n1,0\n2,0\n"), label=label)


BY_PART = {"method": "column", "column": "part", "val_fraction": 0}


def test_a_label_with_one_class_in_a_split(write: Write) -> None:
    path = write("x,y,part\n1,no,train\n2,yes,train\n3,no,eval\n4,no,test\n")
    text = error_of(path, label=TWO_CLASSES, split=BY_PART)
    assert "the label is 'no' in all 2 rows of the split 'eval'" in text


def test_too_few_rows_for_a_split(write: Write) -> None:
    text = error_of(write("x,y\n1,2\n2,3\n3,5\n"), split={"eval_fraction": 0.01})
    assert "no row falls into the split val or eval (train 3, val 0, eval 0)" in text


def test_a_split_column_that_names_none(write: Write) -> None:
    path = write("x,y,part\n1,2,train\n2,3,later\n")
    text = error_of(path, split={"method": "column", "column": "part"})
    assert "line 3, column 'part': 'later' names no split" in text


def test_a_time_that_is_none(write: Write) -> None:
    path = write("x,y,at\n1,2,2024-01-01\n2,3,soon\n3,4,\n")
    text = error_of(path, split={"method": "time", "column": "at"})
    assert "line 3, column 'at': 'soon' is no time to split by (2 such values)" in text


def test_folders_without_eval(write: Write, tmp_path: Path) -> None:
    write(numbers_csv(5), "train/a.csv")
    write(numbers_csv(5), "later/a.csv")
    text = error_of(str(tmp_path), split={"method": "folders"})
    assert "there is no folder for the split eval; found: later, train" in text


def test_a_parquet_that_is_none(write: Write) -> None:
    assert "the file is no Parquet" in error_of(write("x,y\n1,2\n", "a.parquet"))


def test_a_fault_in_parquet_names_the_row(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    parquet.write_table(pa.table({"x": [1.0, float("inf")], "y": [1.0, 2.0]}), path)
    assert "a.parquet, row 2, column 'x': 'inf' is infinite" in error_of(path)


def test_a_damaged_tfrecord(write: Write) -> None:
    assert "damaged after record 0" in error_of(write(b"x" * 100, "a.tfrecord"))


@pytest.mark.parametrize("spaces", [False, True])
@pytest.mark.parametrize("damage", ["cut", "changed", "none"])
def test_a_damaged_gzip(write: Write, damage: str, spaces: bool) -> None:
    content = bytearray(gzip.compress(numbers_csv(5000).encode()))
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "changed":
        content[len(content) // 2 : len(content) // 2 + 9] = b"\xff" * 9
    else:
        content = bytearray(b"x,y\n1,2\n")
    text = error_of(write(bytes(content), "a.csv.gz"), strip_spaces=spaces)
    assert "a.csv.gz: the " in text
    assert "damaged" in text or "cannot be read" in text


def test_a_file_that_may_not_be_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is the operating system's, made here."""

    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    path = write("x,y\n1,2\n")
    monkeypatch.setattr(Path, "open", refuse)
    assert "rows.csv: the file cannot be read: Permission denied" in error_of(path)


def test_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").symlink_to(tmp_path / "nowhere")
    assert "does not exist" in error_of(str(tmp_path / "rows.csv"))


@pytest.mark.parametrize(
    ("values", "form", "says"),
    [
        (
            ["03.10.2010", "31.12.1999"],
            "",
            ["line 2", "'03.10.2010' is not an ISO 8601 date (2 such values)", "'%d.%m.%Y'"],
        ),
        (
            ["03/10/2010", "01/12/1999"],
            "",
            ["line 2", "Give the column `format: '%m/%d/%Y'` (or '%d/%m/%Y')"],
        ),
        (["2010-10-03"], "%d.%m.%Y", ["Drop `format`"]),
        (["1286064000"], "", ["unit: seconds"]),
        (["last week"], "", ["`%d.%m.%Y`"]),
        (
            ["2010-10-03", "", "2010-02-30", "soon"],
            "",
            ["line 4", "'2010-02-30' is not an ISO 8601 date (2 such values)", "Mend the value"],
        ),
        (
            ["03.10.2010", "2010-10-03"],
            "%d.%m.%Y",
            ["line 3", "is not a date written as '%d.%m.%Y'", "Mend the value"],
        ),
    ],
)
def test_dates_that_cannot_be_read(
    write: Write, values: list[str], form: str, says: list[str]
) -> None:
    rows = "".join(f"{value},{index}\n" for index, value in enumerate(values))
    text = error_of(write("x,y\n" + rows), {"x": "bytes"}, dates={"x": form})
    assert "column 'x'" in text
    for part in says:
        assert part in text


def test_an_unreadable_date_in_the_middle_of_the_data(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 500)
    rows = ["03.10.2010" if row != 700 else "10/03/2010" for row in range(1000)]
    content = "x,y\n" + "".join(f"{text},{row}\n" for row, text in enumerate(rows))
    text = error_of(write(content), {"x": "bytes"}, dates={"x": "%d.%m.%Y"})
    assert "line 702, column 'x': '10/03/2010' is not a date written as '%d.%m.%Y'" in text


def test_missing_dates_are_no_fault(write: Write) -> None:
    path = write("x,y\n03.10.2010,1\n,2\n?,3\n  ,4\n" + "04.10.2010,5\n" * 9)
    source = make_source(
        path, {"x": "bytes"}, {"x": "%d.%m.%Y"}, missing_values=["?"], split={"val_fraction": 0}
    )
    assert read_source(source)["x"][:3] == [[b"03.10.2010"], [], []]


@pytest.mark.parametrize(
    ("values", "form", "says"),
    [
        (["27,37", "8,5"], {}, ["'27,37' is not a number (2 such values)", "`data.decimal: ','`"]),
        (["1.234,5"], {}, ["`data.decimal: ','` and `data.thousands: '.'`"]),
        (["1,234.5"], {}, ["`data.decimal: '.'` and `data.thousands: ','`"]),
        (["27.37"], {"decimal": ","}, ["'27.37' is not a number", "`data.decimal` is ','"]),
        (["1.234"], {"decimal": ","}, ["`data.decimal: ','` and `data.thousands: '.'`"]),
        (["1.23,4"], {"decimal": ",", "thousands": "."}, ["Mend the value"]),
        (["03.10.2010"], {"decimal": ","}, ["`kind: date`"]),
        (["far"], {"decimal": ","}, ["'far' is not a number", "kind: categorical"]),
    ],
)
def test_numbers_in_another_form(
    write: Write, values: list[str], form: dict[str, str], says: list[str]
) -> None:
    content = "x;y\n5;1\n" + "".join(f"{value};{row}\n" for row, value in enumerate(values))
    text = error_of(write(content), delimiter=";", **form)
    assert "line 3, column 'x'" in text
    for part in says:
        assert part in text
