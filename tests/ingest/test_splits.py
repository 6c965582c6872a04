"""The split of a row depends on the row alone: not on files, their order or how they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.ingest.conftest import make_source, numbers_csv, read_source
from tfx_pipeline.config.data import SplitConfig
from tfx_pipeline.ingest import csv_reader
from tfx_pipeline.ingest.files import find_files
from tfx_pipeline.ingest.first_rows import check_first_rows
from tfx_pipeline.ingest.splits import EVAL, cut, hash_splits, row_hashes, times

Write = Callable[..., str]


def members(rows: dict[str, list[Any]], column: str = "x") -> dict[Any, str]:
    """The split of each row, by the value of a column that is different in every row."""
    return {value: split for [value], split in zip(rows[column], rows["split"], strict=True)}


def shares(rows: dict[str, list[Any]]) -> dict[str, float]:
    total = len(rows["split"])
    return {name: rows["split"].count(name) / total for name in ("train", "val", "eval")}


def test_fractions(write: Write) -> None:
    found = shares(read_source(make_source(write(numbers_csv(20_000)))))
    assert found["eval"] == pytest.approx(0.33, abs=0.01)
    assert found["val"] == pytest.approx(0.07, abs=0.01)


def test_files_order_and_blocks_do_not_matter(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = numbers_csv(1000, seed=1), numbers_csv(1000, seed=2)
    first, second = write(a, "a.csv"), write(b, "b.csv")
    one = write(b + a.split("\n", 1)[1], "one.csv")
    expected = members(read_source(make_source([first, second])))
    assert members(read_source(make_source([second, first]))) == expected
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 2000)
    assert members(read_source(make_source(one))) == expected


def test_hashes_are_the_same_on_every_machine() -> None:
    rows = pa.RecordBatch.from_pydict({"b": ["1", None, ""], "a": ["x", "y", "y"]})
    # SHA-256 of b"a=x\x1fb=1" and of b"a=y" (a missing value adds nothing), as shares of 2**64.
    assert row_hashes(rows, []).tolist() == EXPECTED_HASHES


def _sha(text: bytes) -> float:
    import hashlib

    return int(hashlib.sha256(text).hexdigest()[:16], 16) / 2**64


EXPECTED_HASHES = [_sha(b"a=x\x1fb=1"), _sha(b"a=y"), _sha(b"a=y")]


def test_a_new_feature_moves_no_row(write: Write) -> None:
    lines = numbers_csv(1000).splitlines()
    path = write("\n".join([lines[0] + ",z"] + [f"{line},{i}" for i, line in enumerate(lines[1:])]))
    few = members(read_source(make_source(path)))
    assert members(read_source(make_source(path, {"x": "float", "z": "bytes"}))) == few


def test_val_fraction_leaves_eval_alone() -> None:
    rows = pa.RecordBatch.from_pydict({"a": [str(i) for i in range(5000)]})
    hashes = row_hashes(rows, [])
    less, more = (cut(hashes, SplitConfig(val_fraction=share)) for share in (0.0, 0.3))
    assert ((less == EVAL) == (more == EVAL)).all()


def test_equal_keys_stay_together(write: Write) -> None:
    lines = numbers_csv(2000).splitlines()
    text = [lines[0] + ",user"] + [f"{line},u{i % 40}" for i, line in enumerate(lines[1:])]
    rows = read_source(
        make_source(
            write("\n".join(text)), {"x": "float", "user": "bytes"}, split={"key": ["user"]}
        )
    )
    splits: dict[bytes, set[str]] = {}
    for [user], split in zip(rows["user"], rows["split"], strict=True):
        splits.setdefault(user, set()).add(split)
    assert len(splits) == 40
    assert all(len(found) == 1 for found in splits.values())
    assert set(rows["split"]) == {"train", "val", "eval"}


def test_the_latest_rows_are_eval(write: Write) -> None:
    days = [f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(300)]
    order = sorted(range(300), key=lambda i: i * 7919 % 300)
    text = "x,y,day\n" + "".join(f"{i},{i % 7},{days[i]}\n" for i in order)
    split = {"method": "time", "column": "day", "eval_fraction": 0.2, "val_fraction": 0.1}
    found = members(read_source(make_source(write(text), split=split)))
    assert [found[float(i)] for i in range(300)] == ["train"] * 210 + ["val"] * 30 + ["eval"] * 60


def test_rows_of_one_time_stay_together(write: Write) -> None:
    text = "x,y,t\n" + "".join(f"{i},{i},{i // 10}\n" for i in range(100))
    split = {"method": "time", "column": "t", "eval_fraction": 0.25, "val_fraction": 0}
    found = members(read_source(make_source(write(text), split=split)))
    assert [i for i in range(100) if found[float(i)] == "eval"] == list(range(70, 100))


def test_a_column_names_the_split(write: Write) -> None:
    names = ["train", "Training", "VAL", "validation", "dev", "test", "eval", " holdout "]
    text = "x,y,part\n" + "".join(f"{i},{i},{name}\n" for i, name in enumerate(names))
    source = make_source(write(text), split={"method": "column", "column": "part"})
    check_first_rows(find_files(source), source)  # Which took the names for times.
    assert read_source(source)["split"] == ["train"] * 2 + ["val"] * 3 + ["eval"] * 3


def test_folders_are_splits(write: Write, tmp_path: Path) -> None:
    for number, folder in enumerate(["train", "validation", "Test"]):
        write(f"x,y\n{number},{number}\n{number},9\n", f"data/{folder}/a.csv")
    write("x,y\n7,7\n", "data/other/a.csv")
    rows = read_source(make_source(str(tmp_path / "data"), split={"method": "folders"}))
    assert dict(zip([x for [x] in rows["x"]], rows["split"], strict=True)) == {
        0.0: "train", 1.0: "val", 2.0: "eval"
    }  # fmt: skip


def test_lists_and_absent_features_hash_alike() -> None:
    split = SplitConfig()
    with_null = pa.RecordBatch.from_pydict({"a": [[1, 2], [3]], "b": pa.nulls(2)})
    without = pa.RecordBatch.from_pydict({"a": [[1, 2], [3]]})
    assert (row_hashes(with_null, []) == row_hashes(without, [])).all()
    assert hash_splits(without, split).shape == (2,)
    assert len(set(row_hashes(without, []))) == 2


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["2024-01-02", "2024-01-01T12:00:00Z"]),
        pa.array(["2024-01-02", "2024-01-01T12:00:00"]).dictionary_encode(),
        pa.array([[b"2024-01-02"], [b"2024-01-01 12:00"]], pa.large_list(pa.large_binary())),
        pa.array([1704153600000, 1704110400000], pa.timestamp("ms", "Europe/Paris")),
        pa.array([[1704153600], [1704110400]], pa.large_list(pa.int64())),
        pa.array([1704153600.0, 1704110400.0]),
    ],
)
def test_times_of_any_type(column: pa.Array) -> None:
    values, faults = times(column)
    assert not faults
    assert values.tolist() == [1704153600.0, 1704110400.0]


@pytest.mark.parametrize("column", [pa.nulls(2), pa.array([True, False]), pa.array([1.0, None])])
def test_what_is_no_time(column: pa.Array) -> None:
    _, [fault] = times(column)
    assert "no time" in fault.problem


def test_a_time_split_reads_dates_in_their_format(write: Write) -> None:
    days = [f"{day:02d}.{month:02d}.2010" for month in range(1, 13) for day in (28, 3, 14)]
    path = write("t,y\n" + "".join(f"{day},{index}\n" for index, day in enumerate(days)))
    split = {"method": "time", "column": "t", "eval_fraction": 0.25, "val_fraction": 0}
    rows = read_source(make_source(path, {"t": "bytes"}, {"t": "%d.%m.%Y"}, split=split))
    late = {
        value[0][3:5]
        for value, part in zip(rows["t"], rows["split"], strict=True)
        if part == "eval"
    }
    assert late == {b"10", b"11", b"12"}
