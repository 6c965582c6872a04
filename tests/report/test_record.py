"""`run.json`, and what is told from it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from tfx_pipeline.errors import ConfigError, StorageError
from tfx_pipeline.files import write_text
from tfx_pipeline.ingest.known import SpanRecords
from tfx_pipeline.report import record as records
from tfx_pipeline.report.compare import differences
from tfx_pipeline.report.record import ArtifactRecord, NodeRecord, RunRecord


def make(root: Path, run_id: str, **fields: object) -> RunRecord:
    made = RunRecord(run_id=run_id, pipeline="p", started=records.now(), **fields)  # type: ignore[arg-type]
    records.save(made, root)
    return made


def test_runs_are_found_by_the_start_of_their_id_and_as_latest(tmp_path: Path) -> None:
    first = make(tmp_path, "20260101-000000-aaaa", state="complete")
    second = make(tmp_path, "20260102-000000-bbbb", state="complete")
    assert records.load(tmp_path, "latest") == second
    assert records.load(tmp_path, "20260101") == first
    with pytest.raises(ConfigError, match="2 runs with an id"):
        records.load(tmp_path, "2026")
    with pytest.raises(ConfigError, match="no run with an id"):
        records.load(tmp_path, "2027")


def test_a_whole_id_is_no_start_of_another(tmp_path: Path) -> None:
    """Who starts nodes by commands names runs as they like."""
    for run_id in ("run-1", "run-10"):
        make(tmp_path, run_id)
    assert records.load(tmp_path, "run-1").run_id == "run-1"


def test_no_run_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="assay run"):
        records.load(tmp_path, "latest")


def test_a_dead_process_leaves_an_interrupted_run(tmp_path: Path) -> None:
    alive = make(tmp_path, "20260101-000000-aaaa", state="running")
    assert records.load(tmp_path, "latest").state == "running"
    assert not alive.can_resume
    # The same process id, started at another time, is another process.
    born = psutil.Process().create_time() - 100
    make(tmp_path, "20260102-000000-bbbb", state="running", pid=os.getpid(), process_started=born)
    dead = records.load(tmp_path, "latest")
    assert dead.state == "interrupted"
    assert dead.can_resume


def test_a_damaged_record_is_told_by_its_path(tmp_path: Path) -> None:
    make(tmp_path, "20260101-000000-aaaa")
    path = tmp_path / "20260101-000000-aaaa" / records.RECORD_FILE
    path.write_text(path.read_text()[:50])
    with pytest.raises(ConfigError, match="not a run's record"):
        records.load(tmp_path, "latest")


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        write_text(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_differences_are_named_by_section(tmp_path: Path) -> None:
    first = make(
        tmp_path,
        "20260101-000000-aaaa",
        metrics={"auc": 0.9},
        data_digest="a",
        nodes={"Trainer": NodeRecord()},
    )
    second = make(tmp_path, "20260102-000000-bbbb", metrics={"auc": 0.95}, data_digest="b")
    for record, files in (
        (first, {"1.csv": "c" * 64}),
        (second, {"1.csv": "c" * 64, "2.csv": "d"}),
    ):
        uri = tmp_path / record.run_id
        SpanRecords(spans={}, files=files).write(uri)
        properties = {"rows_train": 10 * len(files), "rows_eval": 5}
        examples = ArtifactRecord(type="Examples", uri=str(uri), id=1, properties=properties)
        record.nodes["ExampleGen"] = NodeRecord(artifacts={"examples": [examples]})
    for record, steps in ((first, 100), (second, 200)):
        text = f"train: {{steps: {steps}, seed: 1}}\ngates: {{slices: [[a]]}}\n"
        (tmp_path / record.run_id / records.CONFIG_FILE).write_text(text)
    found = {(d.section, d.name): (d.before, d.after) for d in differences(tmp_path, first, second)}
    assert found == {
        ("config", "train.steps"): (100, 200),
        ("data", "digest"): ("a", "b"),
        ("data", "rows_train"): (10, 20),
        ("data", "2.csv"): (None, "d"),
        ("metrics", "auc"): (0.9, 0.95),
    }
    assert differences(tmp_path, first, first) == []


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    made = make(tmp_path, "20260101-000000-aaaa", metrics={"auc": 0.9})
    content = json.loads((tmp_path / made.run_id / records.RECORD_FILE).read_text())
    assert content["metrics"] == {"auc": 0.9}
    assert content["started"].endswith("Z")
