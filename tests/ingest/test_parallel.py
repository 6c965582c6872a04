"""Several processes write what one does, end when one of them dies, and stay small."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.conftest import make_source, numbers_csv
from tfx_pipeline import worker_process
from tfx_pipeline.errors import DataError, StorageError, Transient
from tfx_pipeline.ingest import csv_reader, workers
from tfx_pipeline.ingest.files import find_files
from tfx_pipeline.ingest.readers import Chunk, chunks
from tfx_pipeline.ingest.shards import ShardWriter
from tfx_pipeline.ingest.tfrecord_writer import frame, make_piece
from tfx_pipeline.ingest.unchanged import unchanged
from tfx_pipeline.ingest.workers import Workers, ordered, processes_for
from tfx_pipeline.ingest.write import write_splits

Write = Callable[..., str]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 2000)


@pytest.mark.usefixtures("small_blocks")
def test_the_number_of_processes_changes_no_byte(write: Write, tmp_path: Path) -> None:
    """Nor what is said of bad rows: two files, faults in both, a ragged row."""
    bad = "oops,1\n1,2,3\n,4\n"
    paths = [write(numbers_csv(500, seed) + bad, f"{seed}.csv") for seed in (1, 2)]
    source = make_source(paths, max_bad_rows=10)
    made, told = [], []
    for processes in (1, 2):
        folder = tmp_path / f"by_{processes}"
        written = write_splits(source, folder, processes=processes)
        made.append(files_of(folder))
        told.append((written.rows, written.tally.rejected, written.tally.ragged))
    assert made[0] == made[1]
    assert told[0] == told[1]
    assert sum(told[0][0].values()) == 1002  # A missing x is no fault.
    assert written.tally.bad_rows == 4
    with pytest.raises(DataError, match=r"line 502, column 'x': 'oops' is not a number \(2 such"):
        write_splits(make_source(paths, max_bad_rows=3), tmp_path / "none", processes=2)
    assert not list((tmp_path / "none").rglob("*.gz"))


@pytest.mark.usefixtures("small_blocks")
def test_a_process_that_dies_is_an_error_with_its_reason(write: Write) -> None:
    source = make_source(write(numbers_csv(500)))
    pool = Workers(2, source, None)

    def tasks() -> Iterator[Any]:
        for number, task in enumerate(ordered(chunks(find_files(source), source))):
            if number == 2:
                os.kill(pool.pids[0], signal.SIGKILL)
            yield task

    with pytest.raises(Transient, match="ended by SIGKILL") as caught, pool:
        list(pool.encode(tasks()))
    assert workers.PROCESSES_VARIABLE in caught.value.hint
    for pid in pool.pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_that_cannot_start_says_why(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('no arrows here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    source = make_source(write(numbers_csv(100)))
    with pytest.raises(Transient, match="no arrows here"):
        write_splits(source, tmp_path / "out", processes=2)


def test_when_the_second_process_cannot_be_started_the_first_is_ended(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, started = subprocess.Popen, []

    def one(*words: Any, **options: Any) -> Any:
        if started:
            raise OSError(11, "Resource temporarily unavailable")
        started.append(real(*words, **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", one)
    with pytest.raises(Transient, match="Resource temporarily unavailable") as caught:
        Workers(2, make_source(write(numbers_csv(10))), None)
    assert workers.PROCESSES_VARIABLE in caught.value.hint
    assert started[0].returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("stated", "found"), [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 4), ("", 4)]
)
def test_a_container_has_the_cores_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: str, found: int
) -> None:
    (tmp_path / "cpu.max").write_text(stated)
    monkeypatch.setattr(worker_process, "_CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    assert worker_process.cores() == found


def test_a_defect_in_a_process_shows_its_traceback(write: Write) -> None:
    source = make_source(write(numbers_csv(10)))
    [(chunk, _)] = ordered(chunks(find_files(source), source))
    with pytest.raises(Exception, match="IndexError"), Workers(1, source, None) as pool:
        list(pool.encode(iter([(chunk, [10**6])])))  # type: ignore[list-item]


def test_small_files_start_no_process(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(workers.PROCESSES_VARIABLE, raising=False)
    files = find_files(make_source(write(numbers_csv(10))))
    assert processes_for(files) == 1
    monkeypatch.setattr(workers, "PARALLEL_BYTES", 1)
    assert processes_for(files) == min(8, len(os.sched_getaffinity(0)))
    monkeypatch.setenv(workers.PROCESSES_VARIABLE, "3")
    assert processes_for(files) == 3


_ENCODE = """
import resource, sys
from pathlib import Path
from tests.ingest.conftest import make_source, numbers_csv
from tfx_pipeline.ingest import csv_reader
from tfx_pipeline.ingest.write import write_splits
csv_reader.BLOCK_BYTES = 1 << 17
folder, repeats = Path(sys.argv[1]), int(sys.argv[2])
header, rows = numbers_csv(8000).split("\\n", 1)
with (folder / "rows.csv").open("w") as file:
    file.write(header + "\\n")
    for _ in range(repeats):
        file.write(rows)
print(write_splits(make_source(str(folder / "rows.csv")), folder / "out", processes=1).rows)
assert "tensorflow" not in sys.modules
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = []
    for repeats in (3, 48):
        folder = tmp_path / str(repeats)
        folder.mkdir()
        command = [sys.executable, "-c", _ENCODE, str(folder), str(repeats)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        peaks.append(int(run.stdout.split()[-1]))
    # 360,000 rows more, of 18 bytes as text and 40 as examples: 20 MB, were any of both kept.
    assert peaks[1] - peaks[0] < 8_000, peaks


_HANG = """
import sys, time
from pathlib import Path
from tests.ingest.conftest import make_source
from tfx_pipeline.ingest import csv_reader, shards
from tfx_pipeline.ingest.write import write_splits
csv_reader.BLOCK_BYTES = 2000
write = shards.ShardWriter.write
def write_once_and_hang(writer, piece):
    write(writer, piece)
    print("written", flush=True)
    time.sleep(60)
shards.ShardWriter.write = write_once_and_hang
write_splits(make_source(sys.argv[1]), Path(sys.argv[2]), processes=2)
"""


def test_a_killed_process_leaves_no_shard_that_looks_complete(write: Write, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HANG, write(numbers_csv(500)), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    assert len(children) == 2
    names = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert names
    assert {Path(name).suffix for name in names} == {".part"}
    deadline = time.monotonic() + 30
    while any(_runs(child) for child in children):
        assert time.monotonic() < deadline, "its workers outlive it"
        time.sleep(0.05)


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_file_of_pieces_is_one_gzip_stream(tmp_path: Path) -> None:
    """gzip.decompress checks the length and the CRC that were put together of the pieces'."""
    records = [os.urandom(size % 701) for size in range(900)]
    parts = [records[:300], [], records[300:301], records[301:]]
    writer = ShardWriter(tmp_path / "split")
    for part in parts:
        writer.write(make_piece(part))
    writer.finish()
    assert writer.rows == 900
    [file] = (tmp_path / "split").iterdir()
    assert file.name == "data_tfrecord-00000-of-00001.gz"
    assert gzip.decompress(file.read_bytes()) == frame(records)


def test_a_disk_that_fills_up_in_the_trailer(tmp_path: Path) -> None:
    """Buffered bytes reach the disk when the file is closed."""
    (tmp_path / "00000.part").symlink_to("/dev/full")
    writer = ShardWriter(tmp_path)
    writer.write(make_piece([b"a"]))
    with pytest.raises(StorageError, match="the disk is full"):
        writer.finish()


@pytest.mark.usefixtures("small_blocks")
def test_a_file_that_grows_while_it_is_read(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(write(numbers_csv(500)))
    source = make_source(str(path))

    def growing(found: Iterator[Chunk], _: Any) -> Iterator[Chunk]:
        yield next(found)
        with path.open("a") as file:
            file.write("1")  # Half a row, which would be a fault.
        yield from found

    monkeypatch.setattr("tfx_pipeline.ingest.write.sliced", growing)
    with pytest.raises(DataError, match=r"rows\.csv: the file changed while it was read"):
        write_splits(source, tmp_path / "out", processes=1)


def test_a_file_that_changed_after_its_fingerprint(write: Write, tmp_path: Path) -> None:
    from tfx_pipeline.ingest.files import content_digest

    path = Path(write(numbers_csv(500)))
    source = make_source(str(path))
    digest = f"sha256:{content_digest(find_files(source))}"
    write_splits(source, tmp_path / "same", fingerprint=digest, processes=1)
    reading = unchanged(find_files(source), source, digest)
    with reading:
        os.utime(path, (1, 1))  # Only touched, as the cache has it.
    with path.open("a") as file:
        file.write("1,2\n")
    with pytest.raises(DataError, match="changed while it was read"):
        write_splits(source, tmp_path / "other", fingerprint=digest, processes=1)


def test_threads_of_one_process_write_apart(write: Write, tmp_path: Path) -> None:
    """As two pipelines in one process would."""
    source = make_source(write(numbers_csv(300)))
    errors: list[BaseException] = []

    def run(name: str) -> None:
        try:
            write_splits(source, tmp_path / name, processes=1)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
