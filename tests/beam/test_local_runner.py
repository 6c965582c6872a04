"""`LocalRunner` against FnApiRunner on small jobs, and what it leaves to that one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.userstate import CombiningValueStateSpec

from tfx_pipeline.runners.beam.local import files
from tfx_pipeline.runners.beam.local.files import read_tfrecords

RUNNERS = ("FnApiRunner", "tfx_pipeline.runners.beam.local.runner.LocalRunner")


class _Sum(beam.CombineFn):
    """The sum."""

    def create_accumulator(self) -> int:
        return 0

    def add_input(self, accumulator: int, value: int) -> int:
        return accumulator + value

    def merge_accumulators(self, accumulators: Any) -> int:
        return sum(accumulators)

    def extract_output(self, accumulator: int) -> int:
        return accumulator


class _AtTheEnd(beam.DoFn):
    """Says at the end of a bundle how many elements there were."""

    def start_bundle(self) -> None:
        self._count = 0

    def process(self, value: Any) -> None:
        self._count += 1

    def finish_bundle(self) -> Any:
        from apache_beam.transforms.window import GlobalWindows

        yield GlobalWindows.windowed_value(self._count)


def _tagged(value: int) -> Any:
    yield value
    if value % 2:
        yield beam.pvalue.TaggedOutput("odd", value)


def _outputs(numbers: Any) -> Any:
    return numbers | beam.FlatMap(_tagged).with_outputs("odd", main="all")


def _flat(numbers: Any) -> Any:
    made = _outputs(numbers)
    return (made.odd, made.all) | beam.Flatten()


def _kv(numbers: Any) -> Any:
    return numbers | beam.Map(lambda n: (n % 3, n))


def _both(numbers: Any) -> Any:
    words = numbers | beam.Map(lambda n: (n % 3, str(n)))
    joined = {"n": _kv(numbers), "w": words} | beam.CoGroupByKey()
    return joined | beam.MapTuple(lambda k, v: (k, sorted(v["n"]), sorted(v["w"])))


def _centred(numbers: Any) -> Any:
    """Reads the rows twice: for their mean, and to take it off."""
    mean = numbers | beam.combiners.Mean.Globally()
    return numbers | "off" >> beam.Map(lambda n, m: n - m, beam.pvalue.AsSingleton(mean))


def _far(numbers: Any) -> Any:
    """Rows that are a side input, made of rows that are one."""
    moved = numbers | "on" >> beam.Map(lambda n, all_n: n + len(all_n), beam.pvalue.AsList(numbers))
    return numbers | "far" >> beam.Map(lambda n, m: n + max(m), beam.pvalue.AsList(moved))


JOBS: dict[str, Callable[[Any], Any]] = {
    "group": lambda n: _kv(n) | beam.GroupByKey() | beam.MapTuple(lambda k, v: (k, sorted(v))),
    "keys of several types": lambda n: (
        n
        | beam.Map(lambda v: ((v % 2, "x") if v % 3 else v % 2 == 0, v))
        | beam.CombinePerKey(sum)
        | beam.Map(repr)
    ),
    "join": _both,
    "combine per key": lambda n: _kv(n) | beam.CombinePerKey(_Sum()),
    "with a fan-out": lambda n: _kv(n) | beam.CombinePerKey(_Sum()).with_hot_key_fanout(4),
    "combine all": lambda n: n | beam.CombineGlobally(_Sum()),
    "combine with a side input": lambda n: (
        n
        | beam.CombineGlobally(
            lambda some, more: sum(some) + more,
            beam.pvalue.AsSingleton(n | beam.combiners.Count.Globally()),
        )
    ),
    "combine nothing": lambda n: n | beam.Filter(lambda v: v < 0) | beam.CombineGlobally(_Sum()),
    "a side input of rows": _centred,
    "a list, a dict": lambda n: (
        n
        | beam.Map(
            lambda v, some, named: (v, len(list(some)), named[v % 3]),
            beam.pvalue.AsList(n),
            beam.pvalue.AsDict(_kv(n) | "few" >> beam.CombinePerKey(max)),
        )
    ),
    "a side input of a side input": _far,
    "a second output": _flat,
    "an output that nobody reads": lambda n: _outputs(n).all,
    "the end of a bundle": lambda n: n | beam.Reshuffle() | beam.ParDo(_AtTheEnd()) | _sum(),
    "the largest": lambda n: _kv(n) | beam.combiners.Top.PerKey(2),
    "batches of a size": lambda n: (
        n
        | beam.BatchElements(min_batch_size=4, max_batch_size=4)
        | beam.FlatMap(lambda batch: batch)
    ),
}


def _sum() -> Any:
    return beam.CombineGlobally(sum)


def results(runner: str, job: Callable[[Any], Any], folder: Path) -> list[str]:
    """What a job makes of the numbers from 0 to 19, read from TFRecords, as sorted text."""
    rows = folder / "rows-00000-of-00001.gz"
    if not rows.exists():
        with beam.Pipeline(options=PipelineOptions([f"--runner={RUNNERS[1]}"])) as pipeline:
            made = pipeline | beam.Create([str(n).encode() for n in range(20)])
            made | beam.io.WriteToTFRecord(str(folder / "rows"), file_name_suffix=".gz")
    found = folder / "found"
    found.mkdir(exist_ok=True)
    for old in found.iterdir():
        old.unlink()
    with beam.Pipeline(options=PipelineOptions([f"--runner={runner}"])) as pipeline:
        numbers = pipeline | beam.io.ReadFromTFRecord(str(rows)) | "number" >> beam.Map(int)
        lines = job(numbers) | "text" >> beam.Map(repr)
        lines | beam.io.WriteToText(str(found / "lines"))
    return sorted(line for path in found.iterdir() for line in path.read_text().splitlines())


@pytest.mark.parametrize("name", JOBS)
def test_it_makes_what_beams_own_makes(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="tfx_pipeline"):
        ours = results(RUNNERS[1], JOBS[name], tmp_path)
    assert "Beam's own runner" not in caplog.text
    assert ours
    assert ours == results(RUNNERS[0], JOBS[name], tmp_path)


class _Stateful(beam.DoFn):
    SEEN = CombiningValueStateSpec("seen", sum)

    def process(self, pair: tuple[int, int], seen: Any = beam.DoFn.StateParam(SEEN)) -> Any:  # noqa: B008
        seen.add(1)
        yield pair[0], seen.read()


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (lambda n: _kv(n) | beam.ParDo(_Stateful()), "_Stateful"),
        (
            lambda n: (
                n
                | beam.Map(lambda v: beam.window.TimestampedValue((0, v), v))
                | beam.WindowInto(beam.window.FixedWindows(5))
                | beam.CombinePerKey(sum)
            ),
            "windows",
        ),
    ],
)
def test_what_it_does_not_know_goes_to_beams_own(
    job: Callable[[Any], Any], why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="tfx_pipeline"):
        ours = results(RUNNERS[1], job, tmp_path)
    assert f"{why}" in caplog.text
    assert ours == results(RUNNERS[0], job, tmp_path)


@pytest.mark.parametrize("count", [0, 3])
def test_a_write_in_a_job_that_beams_own_takes(
    count: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with beam.Pipeline(options=PipelineOptions([f"--runner={RUNNERS[1]}"])) as pipeline:
        pairs = pipeline | beam.Create([(0, n) for n in range(count)], reshuffle=False)
        kv = pairs | beam.Map(lambda pair: pair).with_output_types(tuple[int, int])
        seen = kv | beam.ParDo(_Stateful())
        lines = seen | "text" >> beam.Map(lambda found: str(found[1]).encode())
        lines | beam.io.WriteToTFRecord(str(tmp_path / "out"), file_name_suffix=".gz")
    assert "Beam's own runner takes" in caplog.text
    [file] = tmp_path.iterdir()
    assert file.name == "out-00000-of-00001.gz"
    found = [record for chunk in read_tfrecords(str(file), "GZIP") for record in chunk]
    assert found == [b"1", b"2", b"3"][:count]


def test_an_error_names_its_step_and_leaves_no_file(tmp_path: Path) -> None:
    def fail(value: int) -> bytes:
        if value == 13:
            raise ValueError("thirteen")
        return b"fine"

    def job(numbers: Any) -> Any:
        written = numbers | "unlucky" >> beam.Map(fail)
        written | beam.io.WriteToTFRecord(str(tmp_path / "out" / "rows"), file_name_suffix=".gz")
        return numbers

    with pytest.raises(ValueError, match=r"thirteen \[while running 'unlucky"):
        results(RUNNERS[1], job, tmp_path)
    assert not list(tmp_path.glob("**/out/**/*"))
    assert not list(tmp_path.glob(".writing*"))


@pytest.mark.parametrize("ending", [".gz", ".bz2"])
def test_records_that_are_a_side_input_as_they_are_read(tmp_path: Path, ending: str) -> None:
    """TensorFlow reads no bzip2: those files are read by Beam's code."""
    ours = PipelineOptions([f"--runner={RUNNERS[1]}"])
    with beam.Pipeline(options=PipelineOptions([f"--runner={RUNNERS[0]}"])) as pipeline:
        made = pipeline | beam.Create([b"1", b"2", b"3"])
        made | beam.io.WriteToTFRecord(str(tmp_path / "rows"), file_name_suffix=ending)
    with beam.Pipeline(options=ours) as pipeline:
        rows = pipeline | beam.io.ReadFromTFRecord(str(tmp_path / "rows*"))
        one = pipeline | beam.Create([b"all"])
        told = one | beam.Map(
            lambda _, all_rows: b"".join(sorted(all_rows)), beam.pvalue.AsList(rows)
        )
        told | beam.io.WriteToText(str(tmp_path / "told"), shard_name_template="")
    assert (tmp_path / "told").read_text() == "123\n"


def test_only_files_of_its_own_name_are_replaced(tmp_path: Path) -> None:
    others = [tmp_path / name for name in ("rows-b-00000-of-00001.gz", "rows-00000-of-00001")]
    for path in (*others, tmp_path / "rows-00007-of-00009.gz"):
        path.write_bytes(b"old")
    with beam.Pipeline(options=PipelineOptions([f"--runner={RUNNERS[1]}"])) as pipeline:
        made = pipeline | beam.Create([b"new"])
        made | beam.io.WriteToTFRecord(str(tmp_path / "rows"), file_name_suffix=".gz")
    assert {path.name for path in tmp_path.iterdir()} == {
        "rows-00000-of-00001.gz",
        *(path.name for path in others),
    }


TORN_DOWN: list[str] = []


class _Opened(beam.DoFn):
    """Says when what it opened is closed."""

    def process(self, value: int) -> Any:
        if value == 13:
            raise ValueError("thirteen")
        yield value

    def teardown(self) -> None:
        TORN_DOWN.append("here")


def test_what_was_opened_is_closed_after_an_error(tmp_path: Path) -> None:
    TORN_DOWN.clear()
    with pytest.raises(ValueError, match="thirteen"):
        results(RUNNERS[1], lambda n: n | beam.ParDo(_Opened()), tmp_path)
    assert TORN_DOWN == ["here"]


def test_rows_are_read_again_and_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tfx_pipeline"):
        results(RUNNERS[1], _centred, tmp_path)
    assert "2 passes over the rows" in caplog.text


def test_rows_that_nobody_needs_are_not_read(tmp_path: Path) -> None:
    """As TFX's Transform has them, decoded, where an analyzer cache stands for the rows."""
    import tensorflow as tf
    from tfx_bsl.tfxio.tf_example_record import TFExampleRecord

    rows = tmp_path / "rows.gz"
    rows.write_bytes(b"no TFRecords")  # Reading them would raise.
    with beam.Pipeline(options=PipelineOptions([f"--runner={RUNNERS[1]}"])) as pipeline:
        pipeline | beam.io.ReadFromTFRecord(str(rows))
        pipeline | "decoded" >> TFExampleRecord(str(rows)).BeamSource(batch_size=10)
        made = pipeline | beam.Create([b"1"])
        made | beam.io.WriteToTFRecord(str(tmp_path / "out"))
    assert [path.name for path in tmp_path.glob("out*")] == ["out-00000-of-00001"]

    with (
        pytest.raises(tf.errors.DataLossError),
        beam.Pipeline(options=PipelineOptions([f"--runner={RUNNERS[1]}"])) as pipeline,
    ):
        pipeline | beam.io.ReadFromTFRecord(str(rows)) | beam.Map(len)


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_files_are_read_in_chunks(
    tmp_path: Path, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand records, or of few that are large."""
    import tensorflow as tf

    path = str(tmp_path / "rows")
    records = [bytes([number % 7]) * (number % 100) for number in range(2500)]
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression)) as writer:
        for record in records:
            writer.write(record)
    long = list(read_tfrecords(path, compression))
    assert [len(chunk) for chunk in long] == [1000, 1000, 500]
    monkeypatch.setattr(files, "_CHUNK_BYTES", 10_000)
    short = list(read_tfrecords(path, compression))
    assert max(sum(map(len, chunk)) for chunk in short) < 10_100
    for chunks in (long, short):
        assert [record for chunk in chunks for record in chunk] == records
