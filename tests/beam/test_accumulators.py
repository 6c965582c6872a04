"""`--accumulators`: a file that an earlier job has read is not read again, and nothing differs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from tests.beam.helping import Helped
from tfx_pipeline.runners.beam.local.accumulators import Store, sweep
from tfx_pipeline.runners.beam.local.options import LocalOptions
from tfx_pipeline.runners.beam.options import LOCAL_RUNNER

SEEN: list[int] = []


def _see(record: bytes) -> tuple[str, float]:
    if record.decode() == os.environ.get("DIES_AT"):
        os._exit(9)
    SEEN.append(int(record))
    return f"k{int(record) % 3}", int(record) / 7


class _Batch(beam.DoFn):
    """Sums of a bundle's values, handed on when it ends."""

    def start_bundle(self) -> None:
        self._sums: dict[str, float] = {}

    def process(self, pair: tuple[str, float]) -> None:
        self._sums[pair[0]] = self._sums.get(pair[0], 0.0) + pair[1]

    def finish_bundle(self) -> Any:
        from apache_beam.transforms.window import GlobalWindows

        for pair in self._sums.items():
            yield GlobalWindows.windowed_value(pair)


class _Thunks(beam.CombineFn):
    """Sums, as functions that no pickle takes."""

    def create_accumulator(self) -> Any:
        return lambda: 0.0

    def add_input(self, accumulator: Any, value: float) -> Any:
        return lambda: accumulator() + value

    def merge_accumulators(self, accumulators: Any) -> Any:
        total = sum(accumulator() for accumulator in accumulators)
        return lambda: total

    def extract_output(self, accumulator: Any) -> Any:
        return accumulator()


def write(path: Path, numbers: range) -> None:
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for number in numbers:
            writer.write(str(number).encode())


def summed(pairs: Any) -> Any:
    return pairs | beam.CombinePerKey(sum)


class Jobs:
    """Runs jobs on the same folder of rows; each keeps accumulators in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.rows = folder / "rows"
        self.folder = folder
        self.count = 0
        for number in range(3):
            write(self.rows / f"rows-{number}.gz", range(number * 10, number * 10 + 10))

    def run(self, job: Callable[[Any], Any] = summed, earlier: str = "", **more: Any) -> list[str]:
        """The job's result; `self.result` has how many files were known, `SEEN` the rows read."""
        SEEN.clear()
        self.count += 1
        told = self.folder / f"told-{self.count}"
        with beam.Pipeline(options=PipelineOptions([f"--runner={LOCAL_RUNNER}"])) as pipeline:
            options = pipeline.options.view_as(LocalOptions)
            options.accumulators = str(more.get("own", self.folder / str(self.count)))
            options.local_processes = more.get("processes", 1)
            options.earlier_accumulators = [str(self.folder / earlier)] if earlier else []
            rows = pipeline | beam.io.ReadFromTFRecord(str(self.rows / "*"))
            found = job(rows | "see" >> beam.Map(_see)) | "text" >> beam.Map(repr)
            found | beam.io.WriteToText(str(told), shard_name_template="")
        self.result = pipeline.result
        return told.read_text().splitlines()

    def kept(self, name: str) -> set[str]:
        return {path.name for path in (self.folder / name).iterdir()}


def test_workers_keep_what_this_process_keeps(
    jobs: Jobs, helped: Helped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes under the same names; equal files are read once."""
    (jobs.rows / "rows-9.gz").write_bytes((jobs.rows / "rows-0.gz").read_bytes())
    one = jobs.run(own=jobs.folder / "one", earlier="one")
    assert (jobs.result.known, jobs.result.files) == (1, 4)
    two = jobs.run(own=jobs.folder / "two", earlier="two", processes=2)
    assert sorted(Path(path).name for path in helped.read) == [f"rows-{n}.gz" for n in range(3)]
    assert two == one
    assert jobs.kept("two") == jobs.kept("one")
    for name in jobs.kept("one"):
        here, there = (jobs.folder / folder / name for folder in ("one", "two"))
        assert here.read_bytes() == there.read_bytes()
    assert jobs.run(earlier="two") == one
    assert (jobs.result.known, SEEN) == (4, [])


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


def test_only_a_new_file_is_read(jobs: Jobs) -> None:
    cold = jobs.run()
    assert (jobs.result.known, jobs.result.files, len(SEEN)) == (0, 3, 30)

    warm = jobs.run(earlier="1")
    assert (jobs.result.known, jobs.result.files, SEEN) == (3, 3, [])
    assert warm == cold

    write(jobs.rows / "rows-1b.gz", range(100, 105))  # Between the others.
    (jobs.rows / "rows-0.gz").rename(jobs.rows / "rows-9.gz")
    more = jobs.run(earlier="2")
    assert (jobs.result.known, jobs.result.files, SEEN) == (3, 4, list(range(100, 105)))
    assert more == jobs.run()
    assert len(SEEN) == 35
    # The newest folder is enough.
    assert jobs.kept("1") == jobs.kept("2") < jobs.kept("3") == jobs.kept("4")


def test_a_file_is_a_bundle(jobs: Jobs) -> None:
    cold = jobs.run(lambda pairs: summed(pairs | beam.ParDo(_Batch())))
    warm = jobs.run(lambda pairs: summed(pairs | beam.ParDo(_Batch())), earlier="1")
    assert jobs.result.known == 3
    assert cold == warm == jobs.run()  # Floats, summed in the same order.


@pytest.mark.parametrize(
    "other",
    [
        lambda pairs: pairs | beam.CombinePerKey(max),
        lambda pairs: summed(pairs | "more" >> beam.MapTuple(lambda k, v: (k, v + 1))),
        lambda pairs: pairs | "another name" >> beam.CombinePerKey(sum),
    ],
)
def test_other_steps_read_all(jobs: Jobs, other: Callable[[Any], Any]) -> None:
    jobs.run()
    jobs.run(other, earlier="1")
    assert (jobs.result.known, jobs.result.files, len(SEEN)) == (0, 3, 30)


def test_a_value_of_another_config_reads_all(jobs: Jobs) -> None:
    def scaled(by: int) -> Callable[[Any], Any]:
        return lambda pairs: summed(pairs | "by" >> beam.Map(lambda p, n: (p[0], p[1] * n), by))

    cold = jobs.run(scaled(2))
    assert jobs.run(scaled(2), earlier="1") == cold
    assert SEEN == []
    assert jobs.run(scaled(3), earlier="1") != cold
    assert len(SEEN) == 30


def test_damaged_files_are_read_again(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    cold = jobs.run()
    short, changed, nothing = sorted((jobs.folder / "1").iterdir())
    short.write_bytes(short.read_bytes()[:-1])
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    nothing.write_bytes(b"")
    assert jobs.run(earlier="1") == cold
    assert (jobs.result.known, len(SEEN)) == (0, 30)
    assert caplog.text.count("is damaged") == 3
    # In the same folder, they are replaced.
    assert jobs.run(earlier="1", own=jobs.folder / "1") == cold
    assert jobs.run(earlier="1") == cold
    assert SEEN == []


@pytest.mark.slow
def test_a_job_that_is_killed_leaves_whole_files_only(jobs: Jobs, repo: Path) -> None:
    """It dies in its second file; another process, of other hashes, finds the first one's."""
    script = """
import sys
from pathlib import Path
from tests.beam.test_accumulators import Jobs
jobs = Jobs(Path(sys.argv[1]))
jobs.run()
"""
    environment = {**os.environ, "PYTHONHASHSEED": "7", "DIES_AT": "15", "PYTHONPATH": str(repo)}
    command = [sys.executable, "-c", script, str(jobs.folder)]
    child = subprocess.run(command, env=environment, check=False)
    assert child.returncode == 9
    assert [path.suffix for path in (jobs.folder / "1").iterdir()] == [".pkl"]
    jobs.count = 1
    found = jobs.run(earlier="1")
    assert (jobs.result.known, len(SEEN)) == (1, 20)
    assert found == jobs.run()


def test_half_written_accumulators_have_no_name(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Store(tmp_path / "own")._whole("a.pkl") as path:
            path.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list((tmp_path / "own").iterdir())


def test_what_a_killed_job_was_writing_is_swept(tmp_path: Path) -> None:
    own = tmp_path / "own"
    with Store(own)._whole("a.pkl") as path:
        path.write_bytes(b"whole")
        left = path.with_name(path.name.replace("a.pkl", "b.pkl"))
        left.write_bytes(b"half")
    sweep(own)
    assert [found.name for found in own.iterdir()] == ["a.pkl"]
    sweep(tmp_path / "none")


def test_where_nothing_can_be_kept_the_job_ends_well(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    cold = jobs.run()
    (jobs.folder / "a file").write_text("")
    with caplog.at_level(logging.WARNING, logger="tfx_pipeline"):
        assert jobs.run(own=jobs.folder / "a file") == cold
    assert "not kept" in caplog.text


def test_accumulators_that_cannot_be_pickled_are_not_kept(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(jobs.run(lambda pairs: pairs | beam.CombinePerKey(_Thunks()))) == 3
    assert "not kept" in caplog.text
    assert not (jobs.folder / "1").exists()


def test_what_needs_more_than_one_file_runs_as_ever(jobs: Jobs) -> None:
    """Side inputs, groups, two reads in one combine."""

    def centred(pairs: Any) -> Any:
        mean = pairs | beam.Values() | beam.combiners.Mean.Globally()
        off = pairs | beam.Map(lambda p, m: (p[0], p[1] - m), beam.pvalue.AsSingleton(mean))
        return off | "off" >> beam.CombinePerKey(sum)

    def grouped(pairs: Any) -> Any:
        return pairs | beam.GroupByKey() | beam.MapTuple(lambda k, v: (k, len(list(v))))

    for job in (centred, grouped):
        first = jobs.run(job)
        earlier = str(jobs.count)
        (jobs.folder / earlier).mkdir(exist_ok=True)
        assert jobs.run(job, earlier=earlier) == first
        assert len(SEEN) >= 30


def test_without_the_option_nothing_is_kept(jobs: Jobs) -> None:
    with_it = jobs.run()
    assert jobs.run(own="") == with_it
    assert (jobs.result.files, jobs.result.known) == (0, 0)
    assert not (jobs.folder / "2").exists()


def test_beams_own_runner_does_not_mind_the_options(tmp_path: Path) -> None:
    flags = ["--runner=FnApiRunner", "--accumulators=/nowhere", "--earlier_accumulators=/none"]
    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        made = pipeline | beam.Create([1, 2]) | beam.CombineGlobally(sum)
        made | beam.io.WriteToText(str(tmp_path / "told"), shard_name_template="")
    assert (tmp_path / "told").read_text() == "3\n"
