"""ML Metadata (MLMD): its connection, and what it knows of a run's nodes.

The launcher can fail without raising, so a node's state is always read back from here.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from ml_metadata import errors
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import Artifact
from tfx.types.artifact_utils import deserialize_artifact

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import EnvironmentMismatch

Execution = metadata_store_pb2.Execution
GOOD_STATES = (Execution.COMPLETE, Execution.CACHED)

DEFAULT_PORTS = {"mysql": 3306, "postgresql": 5432}

# SQLite takes one writer at a time and nodes run in threads: one connection is open at once.
_ONE_AT_A_TIME = threading.RLock()


class SerializedMetadata(metadata.Metadata):
    """A metadata handle of which only one in the process is connected at any time."""

    def __enter__(self) -> metadata.Metadata:
        _ONE_AT_A_TIME.acquire()
        try:
            return super().__enter__()
        except BaseException:
            _ONE_AT_A_TIME.release()
            raise

    def __exit__(self, *exception: Any) -> None:
        try:
            super().__exit__(*exception)
        finally:
            _ONE_AT_A_TIME.release()


def handle(ir: pipeline_pb2.Pipeline) -> SerializedMetadata:
    """The store that a compiled pipeline names; connected in a `with` block."""
    connection = runner_utils.extract_local_deployment_config(ir).metadata_connection_config
    return SerializedMetadata(getattr(connection, connection.WhichOneof("connection_config")))


def connection_config(config: PipelineConfig) -> metadata_store_pb2.ConnectionConfig:
    """The connection to the store that the config names.

    Raises:
        EnvironmentMismatch: A server's password is not in the environment.
    """
    settings = config.run.metadata
    if settings.backend == "sqlite":
        return metadata.sqlite_metadata_connection_config(str(sqlite_path(config)))
    password = os.environ.get(settings.password_env, "")
    if settings.user and not password:
        raise EnvironmentMismatch(
            f"no password for {settings.backend} user {settings.user!r}",
            where="run.metadata",
            hint=f"Set the environment variable {settings.password_env}.",
        )
    port = settings.port or DEFAULT_PORTS[settings.backend]
    if settings.backend == "mysql":
        return metadata.mysql_metadata_connection_config(
            host=settings.host,
            port=port,
            database=settings.database,
            username=settings.user,
            password=password,
        )
    return metadata_store_pb2.ConnectionConfig(
        postgresql=metadata_store_pb2.PostgreSQLDatabaseConfig(
            host=settings.host,
            port=str(port),
            dbname=settings.database,
            user=settings.user,
            password=_quoted(password),
        )
    )


def _quoted(value: str) -> str:
    """A value of a libpq connection string, which MLMD pastes together without quoting."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def sqlite_path(config: PipelineConfig) -> Path:
    """The SQLite database of `run.metadata.backend: sqlite`."""
    return config.root / "metadata.db"


def check_connection(config: PipelineConfig) -> None:
    """Connects once, before any node does and tells the reason only in its log.

    Raises:
        EnvironmentMismatch: The server cannot be reached or does not let us in.
    """
    settings = config.run.metadata
    if settings.backend == "sqlite":
        return
    try:
        metadata_store.MetadataStore(connection_config(config))
    except (RuntimeError, errors.StatusError) as error:
        port = settings.port or DEFAULT_PORTS[settings.backend]
        raise EnvironmentMismatch(
            f"{settings.backend} at {settings.host}:{port} does not let user {settings.user!r} "
            f"into database {settings.database!r}",
            where="run.metadata",
            hint="Is it running, does the database exist, and is the password in "
            f"{settings.password_env} right? The log has its answer.",
        ) from error


def executions(
    handle: metadata.Metadata, pipeline_name: str, run_id: str, node_id: str
) -> list[metadata_store_pb2.Execution]:
    """Executions of one node in one run, oldest first."""
    store = handle.store
    run = store.get_context_by_type_and_name("pipeline_run", run_id)
    node = store.get_context_by_type_and_name("node", f"{pipeline_name}.{node_id}")
    if run is None or node is None:
        return []
    of_node = {e.id for e in store.get_executions_by_context(node.id)}
    of_run = store.get_executions_by_context(run.id)
    return sorted((e for e in of_run if e.id in of_node), key=lambda e: e.id)


def outputs(handle: metadata.Metadata, execution_id: int) -> dict[str, list[Artifact]]:
    """Output artifacts of an execution, by output key."""
    store = handle.store
    found: dict[str, list[Artifact]] = {}
    output_types = (
        metadata_store_pb2.Event.OUTPUT,
        metadata_store_pb2.Event.DECLARED_OUTPUT,
        metadata_store_pb2.Event.INTERNAL_OUTPUT,
    )
    for event in store.get_events_by_execution_ids([execution_id]):
        if event.type not in output_types:
            continue
        key = next((step.key for step in event.path.steps if step.HasField("key")), "")
        if key.startswith("_"):  # What a condition looked at: an output of a resolver by name only.
            continue
        [artifact] = store.get_artifacts_by_id([event.artifact_id])
        [artifact_type] = store.get_artifact_types_by_id([artifact.type_id])
        found.setdefault(key, []).append(deserialize_artifact(artifact_type, artifact))
    return found


def fail_active(handle: metadata.Metadata, found: list[metadata_store_pb2.Execution]) -> None:
    """Marks executions that a dead or interrupted process left as running."""
    active = [e for e in found if e.last_known_state in (Execution.RUNNING, Execution.NEW)]
    for execution in active:
        execution.last_known_state = Execution.FAILED
    if active:
        handle.store.put_executions(active)
