"""Bad rows that are allowed: left out, and written down with line and reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.ingest.conftest import make_source, numbers_csv, read_source
from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest import csv_reader
from tfx_pipeline.ingest.files import find_files
from tfx_pipeline.ingest.first_rows import check_first_rows
from tfx_pipeline.ingest.rejected import write_rejected
from tfx_pipeline.ingest.source import Source
from tfx_pipeline.ingest.write import write_splits

Write = Callable[..., str]


def rejected(source: Source, folder: Path) -> list[dict[str, Any]]:
    """The lines of the side file."""
    written = write_splits(source, folder / "out", processes=1)
    path = write_rejected(folder, written.tally.rejected, written.tally.ragged, source)
    if path is None:
        return []
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(found) == written.tally.bad_rows
    return found


def test_each_bad_row_has_its_line_and_reason(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 2000)
    lines = numbers_csv(500).splitlines()
    lines[10] = "oops,1"
    lines[11] = "1,2,3"
    lines[300] = '"a\nb",'
    lines[400] = "1e39,nan"
    source = make_source(write("\n".join(lines)), max_bad_rows=4)
    found = rejected(source, tmp_path)
    assert [(row["line"], row["reason"]) for row in found] == [
        (11, "column 'x': 'oops' is not a number"),
        (12, "expected 2 fields, found 3"),
        (301, "column 'x': 'a\\nb' is not a number; column 'y': the label is missing"),
        (
            402,
            "column 'x': '1e39' is infinite as a float32; column 'y': 'nan' is not a number (NaN)",
        ),
    ]
    assert found[0]["row"] == {"x": "oops", "y": "1"}
    assert found[1]["row"] == ["1", "2", "3"]
    assert {row["file"] for row in found} == {source.paths[0]}
    rows = read_source(source)
    assert len(rows["x"]) == 496
    check_first_rows(find_files(source), source)


def test_one_too_many_is_an_error(write: Write) -> None:
    path = write(numbers_csv(50) + "a,1\nb,2\n")
    assert len(read_source(make_source(path, max_bad_rows=2))["x"]) == 50
    with pytest.raises(DataError, match="line 52, column 'x': 'a' is not a number") as caught:
        read_source(make_source(path, max_bad_rows=1))
    assert "More than 1 rows are bad (`data.max_bad_rows`)" in caught.value.hint
    ragged = write(numbers_csv(50) + "1\n1,2,3\n", "b.csv")
    with pytest.raises(DataError, match="line 52: expected 2 fields, found 1; 2 lines"):
        read_source(make_source(ragged, max_bad_rows=1))


def test_other_rows_stay_in_their_splits(write: Write) -> None:
    good = numbers_csv(300)
    bad = good.replace("\n", "\n,x\n", 1).replace("\n", "\nnan,2\n", 1)
    whole = read_source(make_source(write(good)))
    assert read_source(make_source(write(bad, "b.csv"), max_bad_rows=2)) == whole


@pytest.mark.parametrize("spaces", [False, True])
def test_a_row_in_another_encoding(write: Write, tmp_path: Path, spaces: bool) -> None:
    content = numbers_csv(50).encode() + "é,1\n".encode("latin-1")
    source = make_source(write(content), {"x": "bytes"}, max_bad_rows=1, strip_spaces=spaces)
    [row] = rejected(source, tmp_path)
    assert (row["line"], row["reason"]) == (52, r"column 'x': '\\xe9' is not UTF-8")


def test_a_row_in_another_encoding_before_a_cell_of_two_lines(write: Write, tmp_path: Path) -> None:
    """The file's end is looked at again, for a quote that is never closed."""
    content = numbers_csv(50).encode() + b'\xe9,1\na,"2\n"\n'
    source = make_source(write(content), {"x": "bytes"}, max_bad_rows=1)
    assert [row["line"] for row in rejected(source, tmp_path)] == [52]


def test_too_many_rows_of_another_width_are_told_beside_one_in_another_encoding(
    write: Write,
) -> None:
    content = numbers_csv(20).encode() + b"\xe9,1\n1\n2\n"
    with pytest.raises(DataError, match="line 23: expected 2 fields, found 1; 2 lines") as caught:
        read_source(make_source(write(content), {"x": "bytes"}, max_bad_rows=1))
    assert "More than 1 rows are bad" in caught.value.hint


def test_what_only_warns_is_counted_once(write: Write, tmp_path: Path) -> None:
    rows = "".join(f"{2**24 + 1 + 2 * n},{n}\n" for n in range(200))
    source = make_source(write(f"x,y\n{rows}oops,1\n,b\n"), max_bad_rows=2)
    tally = write_splits(source, tmp_path / "out", processes=1).tally
    assert list(tally.odd_values.values()) == [200]


def test_labels_and_splits_that_cannot_be(write: Write, tmp_path: Path) -> None:
    lines = [f"{n},{'ab'[n % 2]},{['train', 'eval'][n % 3 == 0]}" for n in range(30)]
    lines[7], lines[8], lines[9] = "7,c,train", "8,,eval", "9,a,never"
    label = {"column": "y", "task": "multiclass", "classes": ["a", "b"]}
    split = {"method": "column", "column": "part", "val_fraction": 0}
    path = write("\n".join(["x,y,part", *lines]))
    source = make_source(path, label=label, split=split, max_bad_rows=3)
    reasons = {row["line"]: row["reason"] for row in rejected(source, tmp_path)}
    assert reasons == {
        9: "column 'y': 'c' is none of the label's classes",
        10: "column 'y': the label is missing",
        11: "column 'part': 'never' names no split",
    }


def test_a_time_that_is_none_is_rejected(write: Write, tmp_path: Path) -> None:
    rows = "".join(f"{n},{n},2024-01-{n + 1:02d}\n" for n in range(20))
    split = {"method": "time", "column": "at", "val_fraction": 0}
    source = make_source(write("x,y,at\n" + rows + "1,1,soon\n"), split=split, max_bad_rows=1)
    [row] = rejected(source, tmp_path)
    assert (row["line"], row["row"]["at"]) == (22, "soon")


def test_rows_of_parquet_are_told_by_number(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    numbers = [float(n) for n in range(100)]
    numbers[41] = float("inf")
    parquet.write_table(pa.table({"x": numbers, "y": numbers[::-1]}), path)
    found = rejected(make_source(path, max_bad_rows=2), tmp_path)
    assert [row["row"] for row in found] == [
        {"x": "inf", "y": "58.0"},
        {"x": "58.0", "y": "inf"},
    ]
    assert [row["record"] for row in found] == [42, 59]


def test_no_bad_row_leaves_no_file(write: Write, tmp_path: Path) -> None:
    assert rejected(make_source(write(numbers_csv(50)), max_bad_rows=9), tmp_path) == []
    assert not (tmp_path / "rejected_rows.jsonl").exists()


def test_the_terminal_repeats_the_artifacts_note() -> None:
    from tfx_pipeline.report.record import ArtifactRecord, NodeRecord, RunRecord, now
    from tfx_pipeline.runners import results

    properties = {"note": "1 row rejected, see a.jsonl"}
    examples = ArtifactRecord(type="Examples", uri="u", id=1, properties=properties)
    node = NodeRecord(artifacts={"examples": [examples]})
    record = RunRecord(run_id="r", pipeline="p", started=now(), nodes={"ExampleGen": node})
    results.read(record, "ExampleGen")
    assert record.nodes["ExampleGen"].note == "1 row rejected, see a.jsonl"
