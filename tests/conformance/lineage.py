"""What a run left in MLMD, without ids, times and paths: equal runs have equal lineage."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

State = metadata_store_pb2.Execution.State
Store = Path | metadata_store_pb2.ConnectionConfig

# What differs between runs that are equal: names of runs, when, and by which installation.
_PASSING = {"name", "pipeline_name", "producer_component", "tfx_version", "state"}


def lineage(store: Store, run_id: str, *, contents: bool = False) -> list[dict[str, Any]]:
    """The run's executions by node: type, state, inputs and outputs (type, key, content).

    Args:
        store: The SQLite file, or a connection.
        run_id: Name of the `pipeline_run` context.
        contents: Hash what output URIs hold, too, and their properties.
    """
    connected = connect(store)
    run = connected.get_context_by_type_and_name("pipeline_run", run_id)
    types = {t.id: t.name for t in connected.get_execution_types()}
    artifact_types = {t.id: t.name for t in connected.get_artifact_types()}
    found = []
    for execution in connected.get_executions_by_context(run.id):
        node = next(
            c.name for c in connected.get_contexts_by_execution(execution.id) if c.type == "node"
        )
        sides: dict[str, list[Any]] = {"inputs": [], "outputs": []}
        for event in connected.get_events_by_execution_ids([execution.id]):
            [artifact] = connected.get_artifacts_by_id([event.artifact_id])
            key = next((s.key for s in event.path.steps if s.HasField("key")), "")
            side = "inputs" if event.type == metadata_store_pb2.Event.INPUT else "outputs"
            entry = [key, artifact_types[artifact.type_id]]
            if contents and side == "outputs":
                entry += [digest(Path(artifact.uri)), properties(artifact)]
            sides[side].append(entry)
        found.append(
            {
                "node": node,
                "type": types[execution.type_id],
                "state": State.Name(execution.last_known_state),
                "inputs": sorted(sides["inputs"]),
                "outputs": sorted(sides["outputs"], key=str),
            }
        )
    return sorted(found, key=lambda e: (e["node"], e["state"]))


def lineage_digest(store: Store, run_id: str) -> str:
    """One digest of a run's lineage: node ids, artifact types, properties and contents."""
    text = json.dumps(lineage(store, run_id, contents=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def connect(store: Store) -> mlmd.MetadataStore:
    """The store of a file or a connection."""
    if isinstance(store, Path):
        store = metadata.sqlite_metadata_connection_config(str(store))
    return mlmd.MetadataStore(store)


def properties(artifact: metadata_store_pb2.Artifact) -> dict[str, Any]:
    """An artifact's properties, without those that name the run."""
    values = {**artifact.properties, **artifact.custom_properties}
    return {
        key: getattr(value, value.WhichOneof("value"))
        for key, value in sorted(values.items())
        if key not in _PASSING and value.WhichOneof("value") in _SCALARS
    }


_SCALARS = ("int_value", "double_value", "string_value")


def digest(path: Path) -> str:
    """Digest of a file, or of all files below a folder."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    total = hashlib.sha256()
    for file in files:
        total.update(file.name.encode() + file.read_bytes())
    return total.hexdigest()
