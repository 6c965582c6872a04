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
from tfx_pipeline.runners.beam.local import bundles, workers
from tfx_pipeline.runners.beam.local.files import read_tfrecords
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
    """They know this process, and serve all tests; none is left."""
    workers.the_team().close()
    with pytest.MonkeyPatch.context() as patch, workers.expected(workers.Helpers(2)):
        patch.setenv(PARENT, str(os.getpid()))
        yield
    assert not workers.the_team().pids


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
    if _in_a_worker() and number > 4:  # Some rows are written.
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
    helped.awaits = False
    assert run(rows, _same) == EXPECTED, "and no other is started"
    assert not workers.the_team().pids
    workers.the_team().close()


def test_what_fails_in_a_worker_is_done_here(
    rows: Path, helped: Helped, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="tfx_pipeline"):
        assert run(rows, _fails_in_a_worker) == EXPECTED
    assert "ValueError: only here" in caplog.text
    assert caplog.text.count("a worker could not read") == 1, "it is not asked again"
    # What the worker has open of the file that this process wrote must not get into it.
    other = rows.parent / "other"
    with beam.Pipeline(options=PipelineOptions(TWO)) as pipeline:
        read = pipeline | beam.io.ReadFromTFRecord(str(rows))
        read | beam.io.WriteToTFRecord(str(other))
    workers.the_team().close()
    assert written(rows.parent / "out") == EXPECTED
    assert {path.name[:5] for path in rows.parent.iterdir()} == {"rows-", "out-0", "other"}


def test_an_error_is_the_steps_own(rows: Path, helped: Helped) -> None:
    with pytest.raises(ValueError, match="seven") as caught:
        run(rows, _fails)
    assert "call" in str(caught.value)
    assert {path.name for path in rows.parent.iterdir()} == {f"rows-{n}" for n in range(FILES)}
    assert len(workers.the_team().pids) == 1, "it was not at work when this process failed"


def test_ctrl_c_does_not_wait_for_workers(
    rows: Path, monkeypatch: pytest.MonkeyPatch, helped: Helped
) -> None:
    def pressed(*_: Any) -> Any:
        _wait_for(lambda: workers.the_team()._members[0]._current is not None)
        raise KeyboardInterrupt

    monkeypatch.setattr(helped, "awaits", False)
    assert run(rows, _same) == EXPECTED
    [pid] = workers.the_team().pids
    monkeypatch.setattr(bundles, "read_tfrecords", pressed)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(rows, _slow_in_a_worker)
    assert time.monotonic() - started < DEADLINE_S
    assert not psutil.pid_exists(pid)
    assert not list(rows.parent.glob(".writing*"))


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

    workers.the_team().close()
    monkeypatch.setattr(subprocess, "Popen", refused)
    assert run(rows, _same) == EXPECTED
    workers.the_team().close()  # Waits for the thread.
    assert "Resource temporarily unavailable" in caplog.text


def test_workers_end_when_no_job_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    team = workers.the_team()
    monkeypatch.setattr(workers, "_IDLE_S", 0.1)
    with workers.job():
        team.grow(1)
        _wait_for(lambda: bool(team.pids))
        with workers.job():
            pass
        time.sleep(0.3)
        assert team.pids, "another job is open"
    _wait_for(lambda: not team.pids)
    monkeypatch.setattr(workers, "_expected", None)
    with workers.job():
        team.grow(1)
        _wait_for(lambda: bool(team.pids))
    assert not team.pids, "at once where no job is expected"


BUSY = """
import sys, time
from tfx_pipeline.runners.beam.local import workers
from tests.beam.test_local_workers import ONE, TWO, run, _slow_in_a_worker, _same
import os
from pathlib import Path

os.environ["TEST_LOCAL_WORKERS_PARENT"] = str(os.getpid())
team = workers.the_team()
team.grow(1)
while not team.pids:
    time.sleep(0.01)
print(*team.pids, flush=True)
from tfx_pipeline.runners.beam.local import bundles

def waits(*_):
    while team._members[0]._current is None:
        time.sleep(0.01)
    time.sleep(1)
    print("busy", flush=True)
    time.sleep(60)

bundles.read_tfrecords = waits
run(Path(sys.argv[1]), _slow_in_a_worker)
"""


def test_workers_end_with_their_process_in_the_middle_of_a_file(rows: Path) -> None:
    command = [sys.executable, "-c", BUSY, str(rows)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        worker = psutil.Process(int(process.stdout.readline()))
        assert process.stdout.readline() == b"busy\n"
        process.kill()
    _wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """One a core but this process's, as far as files and memory go; none for a small job."""
    monkeypatch.setattr(workers, "_alive", lambda: 0)
    monkeypatch.setattr(workers, "cores", lambda: 6)
    monkeypatch.setattr(workers, "memory_free", lambda _: 64e9)
    auto = workers.Helpers.of(PipelineOptions([]))
    much = workers._PARALLEL_BYTES_OF_SEVERAL
    assert [auto.for_files(sizes) for sizes in ([much], [much // 3] * 2, [])] == [0, 0, 0]
    assert [auto.for_files([much] * files) for files in (3, 30)] == [2, 5]
    monkeypatch.setattr(workers, "memory_free", lambda _: 4e9)
    assert auto.for_files([much] * 30) == 2
    monkeypatch.setattr(workers, "_alive", lambda: 1)  # Its memory is not free for it is there.
    assert auto.for_files([much] * 30) == 3
    assert [workers.Helpers(stated).for_files([1, 1, 1]) for stated in (1, 2, 9)] == [0, 1, 2]
    monkeypatch.setattr(workers, "_has_gpu", lambda: True)
    assert workers.Helpers(9).for_files([much] * 30) == 0
    monkeypatch.undo()
    monkeypatch.setattr(workers, "_expected", None)
    monkeypatch.setattr(workers, "cores", lambda: 2)
    one_job = workers.PARALLEL_BYTES // 2
    assert [auto.for_files([size] * 2) for size in (one_job - 1, one_job)] == [0, 1]


def test_they_start_ahead_of_the_jobs_that_are_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(workers.Team, "grow", lambda _, count: asked.append(count))
    enough = workers._AHEAD_BYTES
    for expected, size in ((None, enough), (workers.Helpers(3), enough - 1)):
        with workers.expected(expected):
            workers.start_ahead(size)
    assert asked == []
    with workers.expected(workers.Helpers(3)):
        monkeypatch.setattr(workers, "cores", lambda: 6)
        workers.start_ahead(enough)
        monkeypatch.setattr(workers, "cores", lambda: 2)
        workers.start_ahead(enough)
    assert asked == [2, 1]


def _child(number: int) -> int:
    # It reads what it is given: not the messages of the worker's parent.
    subprocess.run(["head", "-c", "1"], check=True, stdout=subprocess.DEVNULL)
    return number


def test_a_process_that_a_function_starts_reads_no_message(rows: Path, helped: Helped) -> None:
    assert run(rows, _child) == EXPECTED
    assert len(helped.read) == FILES


class _Odd(Exception):
    """Can be pickled, and that cannot be undone."""

    def __init__(self, number: int, more: int) -> None:
        super().__init__(number)


def test_what_cannot_be_unpickled_is_read_here(
    rows: Path, helped: Helped, caplog: pytest.LogCaptureFixture
) -> None:
    with beam.Pipeline(options=PipelineOptions(TWO)) as pipeline:
        read = pipeline | beam.io.ReadFromTFRecord(str(rows))
        odd = read | beam.Map(lambda record: (b"k", _Odd(int(record), 0))) | beam.GroupByKey()
        counts = odd | beam.Map(lambda group: str(len(group[1])).encode())
        counts | beam.io.WriteToTFRecord(str(rows.parent / "out"))
    assert written(rows.parent / "out") == [str(ROWS).encode()]
    assert "cannot be read" in caplog.text


def _warns(number: int) -> int:
    if _in_a_worker():
        logging.getLogger("odd").warning("number %d", number)
    return number


def test_warnings_of_workers_are_in_the_log(
    rows: Path, helped: Helped, caplog: pytest.LogCaptureFixture
) -> None:
    run(rows, _warns)
    found = {r.getMessage() for r in caplog.records if r.name == "odd"}
    assert found == {f"number {number}" for number in range(ROWS)}


def test_an_error_of_one_job_leaves_the_worker_of_another(rows: Path) -> None:
    """Two nodes at once, in two threads."""
    found: list[Any] = []

    def job(name: str, function: Callable[[int], int]) -> None:
        own = rows.parent / name
        own.mkdir()
        for path in rows.parent.glob("rows-*"):
            (own / path.name).hardlink_to(path)
        try:
            found.append(run(own / "rows-*", function))
        except ValueError as error:
            found.append(error)

    assert run(rows, _same) == EXPECTED
    threads = [
        threading.Thread(target=job, args=args) for args in (("a", _fails), ("b", _a_little_slow))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(type, found), key=str) == [ValueError, list]
    assert EXPECTED in found


def _a_little_slow(number: int) -> int:
    time.sleep(0.02)
    return number


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
