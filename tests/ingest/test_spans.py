"""New files are read, old ones are not: what an earlier run made of them is taken."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.ingest.conftest import make_source, numbers_csv
from tests.ingest.test_parallel import files_of
from tfx_pipeline.components.earlier import earlier_outputs
from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest import known, rows, spans, write
from tfx_pipeline.ingest.files import InputFile, find_files
from tfx_pipeline.ingest.source import Source
from tfx_pipeline.ingest.spans import spans_of
from tfx_pipeline.ingest.write import Written, write_splits

Write = Callable[..., str]


@pytest.fixture(autouse=True)
def each_file_is_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "LEAST_BYTES", 1)
    monkeypatch.setattr(spans, "_FEWEST", 1 << 30)


@pytest.fixture
def days(write: Write, tmp_path: Path) -> Callable[..., Path]:
    """Writes days of rows; the folder they are in."""

    def written(*numbers: int) -> Path:
        for number in numbers:
            write(numbers_csv(60, number), f"data/day-{number:02d}.csv")
        return tmp_path / "data"

    return written


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose rows are read."""
    names: list[str] = []
    chunks = write.chunks

    def noted(files: list[InputFile], *given: Any, **named: Any) -> Any:
        names.extend(file.path.name for file in files)
        return chunks(files, *given, **named)

    for module in (write, rows):
        monkeypatch.setattr(module, "chunks", noted)
    return names


def run(source: Source, root: Path, number: int) -> Written:
    """Writes the artifact of an execution, with what the ones before have."""
    folder = root / str(number)
    folder.mkdir(parents=True)
    written = write_splits(source, folder / "w", earlier=earlier_outputs(str(folder)), processes=1)
    for split in (folder / "w").iterdir():
        split.rename(folder / f"Split-{split.name}")
    (folder / "w").rmdir()
    written.records.write(folder)
    return written


def test_only_the_new_day_is_read(
    days: Callable[..., Path], tmp_path: Path, read_files: list[str]
) -> None:
    source = make_source(str(days(1, 2, 3)))
    first = run(source, tmp_path / "runs", 1)
    assert (first.files, first.known_files, len(read_files)) == (3, 0, 3)

    days(4)
    read_files.clear()
    second = run(source, tmp_path / "runs", 2)
    assert read_files == ["day-04.csv"]
    assert (second.files, second.known_files) == (4, 3)
    fresh = run(source, tmp_path / "others", 1)
    assert files_of(tmp_path / "runs/2") == files_of(tmp_path / "others/1")
    assert second.rows == fresh.rows
    assert sum(second.rows.values()) == 240
    linked = [p for p in (tmp_path / "runs/2").rglob("*.gz") if p.stat().st_nlink == 2]
    assert len(linked) == 9, "three splits of three days take no space"


def test_a_day_that_leaves_and_one_that_changes(
    days: Callable[..., Path], tmp_path: Path, read_files: list[str], write: Write
) -> None:
    folder = days(1, 2, 3, 4)
    source = make_source(str(folder))
    run(source, tmp_path / "runs", 1)
    (folder / "day-01.csv").unlink()
    write(numbers_csv(60, 33), "data/day-03.csv")
    read_files.clear()
    assert run(source, tmp_path / "runs", 2).known_files == 2
    assert read_files == ["day-03.csv"]
    run(source, tmp_path / "others", 1)
    assert files_of(tmp_path / "runs/2") == files_of(tmp_path / "others/1")


def test_another_config_reads_all(
    days: Callable[..., Path], tmp_path: Path, read_files: list[str]
) -> None:
    folder = str(days(1, 2))
    run(make_source(folder), tmp_path / "runs", 1)
    for number, source in enumerate(
        [
            make_source(folder, split={"eval_fraction": 0.5}),
            make_source(folder, types={"x": "bytes"}),
            make_source(folder, missing_values=["", "-"]),
        ]
    ):
        read_files.clear()
        assert run(source, tmp_path / "runs", 2 + number).known_files == 0
        assert len(read_files) == 2
    read_files.clear()
    assert run(make_source(folder), tmp_path / "runs", 9).known_files == 2, "of the first run"


def test_a_time_split_moves_the_days_at_its_cuts(
    tmp_path: Path, write: Write, read_files: list[str]
) -> None:
    def day(number: int) -> None:
        rows = "".join(f"{n},{100 * number + n}\n" for n in range(60))
        write("x,y\n" + rows, f"data/day-{number:02d}.csv")

    for number in range(10):
        day(number)
    split = {"method": "time", "column": "y", "eval_fraction": 0.2, "val_fraction": 0.1}
    source = make_source(str(tmp_path / "data"), split=split)
    run(source, tmp_path / "runs", 1)
    day(10)
    read_files.clear()
    second = run(source, tmp_path / "runs", 2)
    # The column of all days, then those that are new or in another split.
    assert read_files[11:] == ["day-07.csv", "day-08.csv", "day-10.csv"]
    run(source, tmp_path / "others", 1)
    assert files_of(tmp_path / "runs/2") == files_of(tmp_path / "others/1")
    assert second.known_files == 8


def test_what_is_not_whole_is_read_again(
    days: Callable[..., Path], tmp_path: Path, read_files: list[str]
) -> None:
    source = make_source(str(days(1, 2, 3)))
    run(source, tmp_path / "runs", 1)
    shards = sorted((tmp_path / "runs/1/Split-train").iterdir())
    shards[0].unlink()
    os.truncate(shards[1], 20)
    assert run(source, tmp_path / "runs", 2).known_files == 1
    (tmp_path / "runs/2/spans.json").write_text("{")
    (tmp_path / "runs/1/spans.json").unlink()
    read_files.clear()
    assert run(source, tmp_path / "runs", 3).known_files == 0
    assert len(read_files) == 3


def test_faults_are_told_each_time(days: Callable[..., Path], tmp_path: Path, write: Write) -> None:
    """A span with rejected rows is read anew; so is one whose rows are odd counted anew."""
    folder = days(1)
    write("x,y\noops,1\n1,2\n", "data/day-02.csv")
    write("x,y\n1,2,3\n16777217,2\n", "data/day-03.csv")
    write("x,y\n16777219,4\n", "data/day-04.csv")
    source = make_source(str(folder), max_bad_rows=5)
    first = run(source, tmp_path / "runs", 1)
    second = run(source, tmp_path / "runs", 2)
    assert second.known_files == 2
    assert first.tally.bad_rows == second.tally.bad_rows == 2
    assert first.tally.odd_values == second.tally.odd_values
    assert sum(first.tally.odd_values.values()) == 2


def test_labels_are_checked_over_old_and_new(
    tmp_path: Path, write: Write, days: Callable[..., Path]
) -> None:
    """A class that only the old rows have is there; one that none has is an error as ever."""
    label = {"column": "y", "task": "multiclass", "classes": ["a", "b"]}

    def labelled(name: str) -> str:
        return "x,y\n" + "".join(f"{n},{name}\n" for n in range(60))

    write(labelled("a"), "data/1.csv")
    write(labelled("b"), "data/2.csv")
    source = make_source(str(tmp_path / "data"), label=label)
    run(source, tmp_path / "runs", 1)
    (tmp_path / "data/2.csv").unlink()
    with pytest.raises(DataError, match="the label is 'a' in all 60 rows"):
        run(source, tmp_path / "runs", 2)
    write(labelled("b"), "data/3.csv")
    assert run(source, tmp_path / "runs", 3).known_files == 2, "its name does not count"


def test_columns_must_hold_what_they_held(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    numbers = [float(n) for n in range(60)]
    parquet.write_table(pa.table({"x": numbers, "y": numbers}), folder / "1.parquet")
    source = make_source(str(folder), types={"x": "bytes"})
    run(source, tmp_path / "runs", 1)
    texts = [f"a{n}" for n in range(60)]
    parquet.write_table(pa.table({"x": texts, "y": numbers}), folder / "2.parquet")
    with pytest.raises(DataError, match=r"holds text here, but numbers in .*1\.parquet"):
        run(source, tmp_path / "runs", 2)


def test_a_column_of_nulls_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a span of two files, the second of which has no value: the first is not forgotten."""
    monkeypatch.setattr(spans, "LEAST_BYTES", 1 << 30)
    folder = tmp_path / "data"
    folder.mkdir()
    numbers = [float(n) for n in range(60)]
    nulls = pa.nulls(60, pa.null())
    parquet.write_table(pa.table({"x": numbers, "y": numbers}), folder / "1.parquet")
    parquet.write_table(pa.table({"x": nulls, "y": numbers}), folder / "2.parquet")
    written = run(make_source(str(folder), types={"x": "bytes"}), tmp_path / "runs", 1)
    [record] = written.records.spans.values()
    assert record.columns["x"] == "numbers"


def test_what_all_files_together_lack(tmp_path: Path) -> None:
    """Also where none is read."""
    import tensorflow as tf

    folder = tmp_path / "data"
    folder.mkdir()
    for name, columns in (("1", "xy"), ("2", "y")):
        with tf.io.TFRecordWriter(str(folder / f"{name}.tfrecord")) as writer:
            for row in range(60):
                example = tf.train.Example()
                for column in columns:
                    example.features.feature[column].float_list.value.append(row + int(name))
                writer.write(example.SerializeToString())
    source = make_source(str(folder))
    run(source, tmp_path / "runs", 1)
    (folder / "1.tfrecord").unlink()
    with pytest.raises(DataError, match="there is no column 'x'"):
        run(source, tmp_path / "runs", 2)


def test_a_shard_that_goes_while_it_is_linked(
    days: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody deletes the run: its day is read."""
    source = make_source(str(days(1, 2)))
    run(source, tmp_path / "runs", 1)
    link = known.link
    linked: list[Path] = []

    def gone(shard: Path, target: Path) -> None:
        linked.append(shard)
        if len(linked) == 2:
            shard.unlink()
        link(shard, target)

    monkeypatch.setattr(known, "link", gone)
    assert run(source, tmp_path / "runs", 2).known_files == 1
    monkeypatch.setattr(known, "link", link)
    run(source, tmp_path / "others", 1)
    assert files_of(tmp_path / "runs/2") == files_of(tmp_path / "others/1")


def test_the_same_file_twice_is_two_spans(days: Callable[..., Path], tmp_path: Path) -> None:
    folder = days(1)
    (folder / "day-02.csv").write_bytes((folder / "day-01.csv").read_bytes())
    written = run(make_source(str(folder)), tmp_path / "runs", 1)
    assert sum(written.rows.values()) == 120
    assert len(written.records.spans) == 2


def test_small_files_are_together_and_many_are_not_many_spans(
    days: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "_FEWEST", 16)
    folder = days(*range(90))
    source = make_source(str(folder))
    files = find_files(source)
    before = spans_of(files, source, None)
    assert 10 <= len(before) <= 40
    assert [file for span in before for file in span.files] == files
    keys = {span.key for span in before}

    (folder / "day-00.csv").unlink()
    (folder / "day-50.csv").unlink()
    days(90)
    after = spans_of(find_files(source), source, None)
    assert len([span for span in after if span.key not in keys]) <= 3
    monkeypatch.setattr(spans, "LEAST_BYTES", 1 << 30)
    assert len(spans_of(find_files(source), source, None)) == 1


def test_a_file_that_is_to_be_read_otherwise_is_another(
    days: Callable[..., Path], tmp_path: Path
) -> None:
    """Its name says how: the same bytes are no gzip."""
    folder = days(1)
    run(make_source(str(folder)), tmp_path / "runs", 1)
    (folder / "day-01.csv").rename(folder / "day-01.csv.gz")
    with pytest.raises(DataError, match=r"damaged|gzip"):
        run(make_source(str(folder)), tmp_path / "runs", 2)
