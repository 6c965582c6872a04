"""`LocalRunner`'s worker processes: with them all is as in one process, whatever befalls them."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import psutil
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from tests.beam import test_local_statistics as tfdv
from tests.beam.helping import Helped
from tests.beam.test_local_passes import ROWS, Job
from tfx_pipeline.ingest.workers import PARALLEL_BYTES
from tfx_pipeline.runners.beam.local import bundles, workers
from tfx_pipeline.runners.beam.local.files import read_tfrecords
from tfx_pipeline.runners.beam.local.sharing import Shared
from tfx_pipeline.runners.beam.options import LOCAL_RUNNER

pytestmark = pytest.mark.slow

ONE = [f"--runner={LOCAL_RUNNER}", "--local_processes=1"]
TWO = [f"--runner={LOCAL_RUNNER}", "--local_processes=2"]
FILES = 3
# The process that runs the tests, for functions that run in a worker.
PARENT = "TEST_LOCAL_WORKERS_PARENT"
DEADLINE_S = 30


@pytest.fixture(scope="module", autouse=True)
def own_workers() -> Iterator[None]:
    """They know this process; and none is left."""
    workers._the_team(0).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PARENT, str(os.getpid()))
        yield
    workers._the_team(0).close()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """The pattern of `FILES` files with `ROWS` numbers."""
    import tensorflow as tf

    for file in range(FILES):
        with tf.io.TFRecordWriter(str(tmp_path / f"rows-{file}")) as writer:
            for number in range(file, ROWS, FILES):
                writer.write(str(number).encode())
    return tmp_path / "rows-*"


def run(rows: Path, function: Callable[[Any], Any], args: list[str] = TWO) -> list[bytes]:
    """What a job writes that calls a function for each number."""
    out = rows.parent / "out"
    with beam.Pipeline(options=PipelineOptions(args)) as pipeline:
        numbers = pipeline | beam.io.ReadFromTFRecord(str(rows)) | beam.Map(int)
        made = numbers | "call" >> beam.Map(function) | beam.Map(lambda v: str(v).encode())
        made | beam.io.WriteToTFRecord(str(out))
    return written(out)


def written(out: Path) -> list[bytes]:
    """The records of all files of a write, in their order."""
    files = sorted(out.parent.glob(f"{out.name}-*-of-*"))
    return [record for file in files for chunk in read_tfrecords(str(file), "") for record in chunk]


EXPECTED = [str(number).encode() for file in range(FILES) for number in range(file, ROWS, FILES)]


def _in_a_worker() -> bool:
    return os.environ[PARENT] != str(os.getpid())


def _same(number: int) -> int:
    return number


def _dies_in_a_worker(number: int) -> int:
    if _in_a_worker():
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _fails_in_a_worker(number: int) -> int:
    if _in_a_worker():
        raise ValueError("only here")
    return number


def _fails(number: int) -> int:
    if number == 7:
        raise ValueError("seven")
    return number


def _counting(upto: int) -> Iterator[int]:
    return (number for number in range(upto))


def _slow_in_a_worker(number: int) -> int:
    if _in_a_worker():
        time.sleep(DEADLINE_S)
    return number


def test_random_jobs(rows: Path, helped: Helped) -> None:
    """As in one process; what has no part of its own is done in this one."""
    for seed in range(20):
        chance = random.Random(seed)
        with beam.Pipeline(options=PipelineOptions(TWO)) as pipeline:
            # Side effects of a worker are not seen here, and batches end with their files.
            job = Job(pipeline, chance, rows, without={"see", "batch"})
            for number in range(chance.randint(4, 16)):
                job.grow(f"{seed}-{number}")
        for path, values in job.files.items():
            assert sorted(map(int, written(Path(path)))) == values, (seed, path)
    assert len(helped.read) > 60


def test_statistics_are_the_same_to_the_byte(tmp_path: Path, helped: Helped) -> None:
    tfdv.write(tmp_path / "examples" / "Split-train", files=3)
    one = tfdv.written_statistics(ONE, tmp_path, tmp_path / "one")
    assert not helped.read
    assert tfdv.written_statistics(TWO, tmp_path, tmp_path / "two") == one
    assert len(helped.read) == 3


def test_files_are_in_the_order_of_those_that_were_read(rows: Path, helped: Helped) -> None:
    assert run(rows, _same) == EXPECTED
    assert len(helped.read) == FILES
    assert run(rows, _same, ONE) == EXPECTED


def test_a_worker_that_is_killed_costs_nothing_but_time(
    rows: Path, helped: Helped, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(rows, _dies_in_a_worker) == EXPECTED
    assert not helped.read
    assert "was ended by SIGKILL" in caplog.text
    workers._the_team(1).close()


def test_what_fails_in_a_worker_is_done_here(
    rows: Path, helped: Helped, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="tfx_pipeline"):
        assert run(rows, _fails_in_a_worker) == EXPECTED
    assert "ValueError: only here" in caplog.text
    assert caplog.text.count("a worker process could not read") == 1, "it is not asked again"


def test_an_error_is_the_steps_own(rows: Path, helped: Helped) -> None:
    with pytest.raises(ValueError, match="seven") as caught:
        run(rows, _fails)
    assert "call" in str(caught.value)
    assert {path.name for path in rows.parent.iterdir()} == {f"rows-{n}" for n in range(FILES)}
    assert workers._team is not None
    assert not workers._team.pids


def test_ctrl_c_does_not_wait_for_workers(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundles, "read_tfrecords", pressed)
    team = workers._the_team(1)
    _wait_for(lambda: bool(team.pids))
    [pid] = team.pids
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(rows, _slow_in_a_worker)
    assert time.monotonic() - started < DEADLINE_S
    assert not psutil.pid_exists(pid)
    assert not list(rows.parent.glob("out*"))


def test_side_inputs_that_cannot_be_pickled_stay_here(
    rows: Path, helped: Helped, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, logger="tfx_pipeline"),
        beam.Pipeline(options=PipelineOptions(TWO)) as pipeline,
    ):
        side = pipeline | beam.Create([ROWS]) | "generator" >> beam.Map(_counting)
        read = pipeline | beam.io.ReadFromTFRecord(str(rows))
        made = read | "first" >> beam.Map(lambda v, _: v, beam.pvalue.AsSingleton(side))
        made | beam.io.WriteToTFRecord(str(rows.parent / "out"))
    assert written(rows.parent / "out") == EXPECTED
    assert "cannot pickle 'generator' object" in caplog.text
    assert not helped.read


def test_without_a_process_it_goes_on(
    rows: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise OSError(11, "Resource temporarily unavailable")

    workers._the_team(1).close()
    monkeypatch.setattr(subprocess, "Popen", refused)
    assert run(rows, _same) == EXPECTED
    workers._the_team(1).close()  # Waits for the thread.
    assert "Resource temporarily unavailable" in caplog.text


def test_workers_end_when_no_job_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    team = workers._the_team(1)
    _wait_for(lambda: bool(team.pids))
    monkeypatch.setattr(workers, "_IDLE_S", 0.1)
    workers.rest()
    _wait_for(lambda: not team.pids)


def test_workers_end_with_their_process() -> None:
    code = "import sys, time; from tfx_pipeline.runners.beam.local import workers\n"
    code += "team = workers._the_team(1)\nwhile not team.pids: time.sleep(0.01)\n"
    code += "print(*team.pids, flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        worker = psutil.Process(int(process.stdout.readline()))
        process.kill()
    _wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """One a core but this process's, as far as files and memory go; none for a small job."""
    asked: list[int] = []
    monkeypatch.setattr(workers, "_the_team", asked.append)
    monkeypatch.setattr(workers, "cores", lambda: 6)
    monkeypatch.setattr(workers, "memory_free", lambda _: 64e9)
    much = workers.PARALLEL_BYTES
    auto = workers.Helpers.of(PipelineOptions(["--local_processes=0"]))
    for sizes in ([much], [much // 3] * 2, []):
        auto.for_files(sizes)
    assert asked == []
    auto.for_files([much] * 3)
    auto.for_files([much] * 30)
    monkeypatch.setattr(workers, "memory_free", lambda _: 4e9)
    auto.for_files([much] * 30)
    assert asked == [2, 5, 2]
    asked.clear()
    for stated in (1, 2, 9):
        workers.Helpers(stated).for_files([1, 1, 1])
    assert asked == [1, 2]
    monkeypatch.setattr(workers, "_has_gpu", lambda: True)
    auto.for_files([much] * 30)
    assert asked == [1, 2]


def test_they_start_ahead_where_a_core_idles(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(workers, "_the_team", asked.append)
    monkeypatch.setattr(workers, "_expected", None)
    enough = workers._AHEAD_BYTES
    workers.start_ahead(enough)  # Of a process that runs one node.
    workers.expect(workers.Helpers(3))
    workers.start_ahead(enough - 1)
    workers.start_ahead(PARALLEL_BYTES)  # Ingest uses all cores then.
    assert asked == []
    workers.start_ahead(enough)
    assert asked == [2]


def test_shared_work() -> None:
    work = Shared("abcd")
    assert work.take() == "a"
    assert work.take(lambda item: item > "b") == "c"
    work.done("a", 1)
    work.give_back("c")
    assert [work.has(item) for item in "abc"] == [False, True, True]
    assert work.take() == "c"
    waiter = threading.Thread(target=work.wait, args=("c",))
    waiter.start()
    assert waiter.is_alive()
    work.done("c", 3)
    waiter.join(DEADLINE_S)
    assert not waiter.is_alive()
    assert work.results == {"a": 1, "c": 3}
    work.stop()
    assert work.take() is None
    assert not work.has_for(lambda _: True)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
