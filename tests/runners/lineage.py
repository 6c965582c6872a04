"""What a run left in MLMD, without ids, times and paths: equal runs have equal lineage."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

State = metadata_store_pb2.Execution.State


def lineage(database: Path, run_id: str, *, contents: bool = False) -> list[dict[str, Any]]:
    """The run's good executions by node: type, state, inputs and outputs (type, key, content).

    Args:
        database: The SQLite file.
        run_id: Name of the `pipeline_run` context.
        contents: Hash what output URIs hold, too.
    """
    store = mlmd.MetadataStore(metadata.sqlite_metadata_connection_config(str(database)))
    run = store.get_context_by_type_and_name("pipeline_run", run_id)
    types = {t.id: t.name for t in store.get_execution_types()}
    artifact_types = {t.id: t.name for t in store.get_artifact_types()}
    found = []
    for execution in store.get_executions_by_context(run.id):
        node = next(
            c.name for c in store.get_contexts_by_execution(execution.id) if c.type == "node"
        )
        sides: dict[str, list[Any]] = {"inputs": [], "outputs": []}
        for event in store.get_events_by_execution_ids([execution.id]):
            [artifact] = store.get_artifacts_by_id([event.artifact_id])
            key = next((s.key for s in event.path.steps if s.HasField("key")), "")
            side = "inputs" if event.type == metadata_store_pb2.Event.INPUT else "outputs"
            entry = [key, artifact_types[artifact.type_id]]
            if contents and side == "outputs":
                entry.append(digest(Path(artifact.uri)))
            sides[side].append(entry)
        found.append(
            {
                "node": node,
                "type": types[execution.type_id],
                "state": State.Name(execution.last_known_state),
                "inputs": sorted(sides["inputs"]),
                "outputs": sorted(sides["outputs"]),
            }
        )
    return sorted(found, key=lambda e: (e["node"], e["state"]))


def digest(path: Path) -> str:
    """Digest of a file, or of all files below a folder."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    total = hashlib.sha256()
    for file in files:
        total.update(file.name.encode() + file.read_bytes())
    return total.hexdigest()
