"""Takes out of an SQLite metadata database what a full disk left half-written there.

When its disk is full, SQLite may roll back on its own. MLMD does not notice and goes on: what it
writes after that has no transaction and stays, the rows before it are gone. So an execution that is
still running gets an output, or an event gets an artifact that does not exist, and readers of the
lineage fail. https://www.sqlite.org/lang_transaction.html (3. Response To Errors Within A
Transaction)
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2

log = logging.getLogger(__name__)

_Event = metadata_store_pb2.Event
_Execution = metadata_store_pb2.Execution

_OUTPUT = (_Event.OUTPUT, _Event.DECLARED_OUTPUT, _Event.INTERNAL_OUTPUT)
_ACTIVE = (_Execution.NEW, _Execution.RUNNING)

# TFX publishes outputs in the transaction that completes the execution.
_TOO_EARLY = f"""
    SELECT Event.id, Event.artifact_id FROM Event JOIN Execution
    ON Execution.id = Event.execution_id
    WHERE Event.type IN {_OUTPUT} AND Execution.last_known_state IN {_ACTIVE}
"""

# Row, and what it cannot be without.
_REFERENCES = (
    ("Event", "artifact_id", "Artifact"),
    ("Event", "execution_id", "Execution"),
    ("EventPath", "event_id", "Event"),
    ("Attribution", "artifact_id", "Artifact"),
    ("Association", "execution_id", "Execution"),
    ("ArtifactProperty", "artifact_id", "Artifact"),
    ("ExecutionProperty", "execution_id", "Execution"),
)


def repair(database: Path) -> int:
    """Deletes half-published outputs and rows that refer to nothing; sound databases stay as is.

    Only for a database that no run writes to.

    Returns:
        How many rows were deleted.
    """
    if not database.exists():
        return 0
    try:
        deleted = _delete(database)
    except sqlite3.DatabaseError as error:
        # MLMD opens it next, and says what is wrong as it always does.
        log.warning("%s cannot be looked through: %s", database, error)
        return 0
    if deleted:
        log.warning("%s: deleted %d rows that a full disk left half-written", database, deleted)
    return deleted


def _delete(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(database)) as db, db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if not {table for table, _, _ in _REFERENCES} <= tables:
            return 0  # MLMD has not made its tables yet.
        early = db.execute(_TOO_EARLY).fetchall()
        deleted = 0
        for event, artifact in early:
            deleted += db.execute("DELETE FROM Event WHERE id = ?", (event,)).rowcount
            deleted += db.execute(
                f"""DELETE FROM Artifact WHERE id = ? AND id NOT IN
                    (SELECT artifact_id FROM Event WHERE type IN {_OUTPUT})""",
                (artifact,),
            ).rowcount
        for table, column, target in _REFERENCES:
            deleted += db.execute(
                f"DELETE FROM {table} WHERE {column} NOT IN (SELECT id FROM {target})"
            ).rowcount
    return deleted
