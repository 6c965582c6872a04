"""A CSV is read no further ahead than a few blocks of who takes its rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ingest.conftest import make_source
from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest import csv_reader, pace
from tfx_pipeline.ingest.csv_reader import Ragged, batches
from tfx_pipeline.ingest.pace import Pace

DEADLINE_S = 30


def _reading(paced: Pace, blocks: list[int], many: int) -> threading.Thread:
    def read() -> None:
        while len(blocks) < many and paced.goes_on():
            blocks.append(len(blocks))

    thread = threading.Thread(target=read)
    thread.start()
    return thread


def _wait_for(blocks: list[int], many: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while len(blocks) < many:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_reader_waits_for_who_takes() -> None:
    paced, blocks = Pace(), list[int]()
    thread = _reading(paced, blocks, 100)
    taken = paced.keeping(range(100))
    for number in range(10):
        _wait_for(blocks, number + pace._AHEAD)
        assert next(taken) == number
    time.sleep(3 * pace._IN_VAIN_S)
    assert len(blocks) <= 10 + pace._AHEAD
    paced.end()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert len(blocks) <= 10 + pace._AHEAD


def test_blocks_without_batches_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_IN_VAIN_S", 0.001)
    paced, blocks = Pace(), list[int]()
    thread = _reading(paced, blocks, 100)

    def late() -> Iterator[str]:
        _wait_for(blocks, 100)
        yield "all of them in one"

    _wait_for(blocks, 50)  # Before anybody has the first batch: it is being opened.
    assert list(paced.keeping(late())) == ["all of them in one"]
    paced.end()
    thread.join(DEADLINE_S)


def test_a_file_that_is_left_early_is_read_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 1000)
    path = tmp_path / "rows.csv"
    path.write_text("a,label\n" + "".join(f"{n},x\n" for n in range(100_000)))
    asked = []
    goes_on = Pace.goes_on

    def counted(paced: Pace) -> bool:
        asked.append(paced)
        return goes_on(paced)

    monkeypatch.setattr(Pace, "goes_on", counted)
    rows = batches(path, make_source(str(path)).data, None, Ragged())
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert 1 <= len(asked) < 20


def _csv(path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, **data: str) -> list[int]:
    """Rows of the batches of a CSV of many small blocks."""
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(pace, "_IN_VAIN_S", 0.001)
    path.write_bytes(content)
    source = make_source(str(path), **data)
    return [batch.num_rows for batch in batches(path, source.data, None, Ragged())]


def test_blocks_of_empty_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"a,label\n" + b"\n" * 20_000 + b"1,x\n"
    assert sum(_csv(tmp_path / "rows.csv", monkeypatch, content)) == 1


def test_two_bytes_a_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = ("a,label\n" + "1,x\n" * 20_000).encode("utf-16-le")
    found = _csv(tmp_path / "rows.csv", monkeypatch, content, encoding="utf-16-le")
    assert sum(found) == 20_000


def test_a_fault_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"a,label\n\xff,x\n" + b"1,x\n" * 50_000
    for attempt in range(8):
        with pytest.raises(DataError):
            _csv(tmp_path / f"{attempt}.csv", monkeypatch, content)
    assert sum(_csv(tmp_path / "good.csv", monkeypatch, content.replace(b"\xff", b"2"))) == 50_001
