"""What a full disk leaves in MLMD's SQLite database, as seen in tests/e2e/test_faults.py."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.orchestration import metadata

from tfx_pipeline.runners.repair import repair


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A node that is done with one artifact, and one that is running and read it."""
    path = tmp_path / "metadata.db"
    store = _store(path)
    trained = store.put_execution_type(pb.ExecutionType(name="Trainer"))
    model = store.put_artifact_type(pb.ArtifactType(name="Model"))
    context = store.put_context_type(pb.ContextType(name="pipeline_run"))
    run = pb.Context(type_id=context, name="run")
    store.put_execution(
        pb.Execution(type_id=trained, last_known_state=pb.Execution.COMPLETE),
        [(pb.Artifact(type_id=model, uri="/done"), pb.Event(type=pb.Event.OUTPUT))],
        [run],
    )
    [read] = store.get_artifacts()
    store.put_execution(
        pb.Execution(type_id=trained, last_known_state=pb.Execution.RUNNING),
        [(read, pb.Event(type=pb.Event.INPUT))],
        [store.get_contexts()[0]],
    )
    return path


def _store(path: Path) -> mlmd.MetadataStore:
    return mlmd.MetadataStore(metadata.sqlite_metadata_connection_config(str(path)))


def _rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        names = [n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in names}


def _publish_half(path: Path, *, artifact_rolled_back: bool) -> None:
    store = _store(path)
    [running] = [e for e in store.get_executions() if e.last_known_state == pb.Execution.RUNNING]
    kind = store.get_artifact_type("Model").id
    output = (pb.Artifact(type_id=kind, uri="/half"), pb.Event(type=pb.Event.OUTPUT))
    store.put_execution(running, [output], [store.get_contexts()[0]])
    if artifact_rolled_back:
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("DELETE FROM Artifact WHERE uri = '/half'")


def test_a_sound_database_stays_as_it_is(database: Path) -> None:
    before = _rows(database)
    assert repair(database) == 0
    assert _rows(database) == before


@pytest.mark.parametrize("artifact_rolled_back", [False, True])
def test_a_half_published_output_is_taken_out(database: Path, artifact_rolled_back: bool) -> None:
    before = _rows(database)
    _publish_half(database, artifact_rolled_back=artifact_rolled_back)
    assert repair(database) >= 2
    after = _rows(database)
    for table in ("Artifact", "Event", "EventPath", "Attribution", "Association"):
        assert after[table] == before[table], table
    assert [a.uri for a in _store(database).get_artifacts()] == ["/done"]


def test_no_database_and_an_empty_one(tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()
    assert repair(empty) == repair(tmp_path / "none.db") == 0
    assert not (tmp_path / "none.db").exists()


def test_what_is_no_database_is_left_for_mlmd_to_tell(tmp_path: Path) -> None:
    file = tmp_path / "metadata.db"
    file.write_bytes(b"no database at all" * 100)
    assert repair(file) == 0
    assert file.read_bytes() == b"no database at all" * 100
