"""ML Metadata (MLMD): its connection, and what it knows of a run's nodes.

The launcher can fail without raising, so a node's state is always read back from here.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
from ml_metadata import errors
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import Artifact
from tfx.types.artifact_utils import deserialize_artifact

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import Busy, EnvironmentMismatch, Transient
from tfx_pipeline.runners import backslashes

Execution = metadata_store_pb2.Execution
GOOD_STATES = (Execution.COMPLETE, Execution.CACHED)

DEFAULT_PORTS = {"mysql": 3306, "postgresql": 5432}

# SQLite takes one writer at a time and nodes run in threads: one connection is open at once.
_ONE_AT_A_TIME = threading.RLock()
_PATIENCE_S = 120.0  # Nodes of other processes hold a database for well under a second each.


class SerializedMetadata(metadata.Metadata):
    """A metadata handle of which only one in the process is connected at any time.

    On SQLite, only one on the machine: other processes may be running nodes of the same pipeline.
    """

    def __enter__(self) -> metadata.Metadata:
        _ONE_AT_A_TIME.acquire()
        try:
            lock = self._file_lock()
            if lock is not None:
                _acquire(lock)
            try:
                connected = self._connected()
                if self._backend() == "postgresql":
                    backslashes.guard(self._store)
                return connected
            except BaseException:
                if lock is not None:
                    lock.release()
                raise
        except BaseException:
            _ONE_AT_A_TIME.release()
            raise

    def __exit__(self, *exception: Any) -> None:
        lock = self._file_lock()
        try:
            super().__exit__(*exception)
        finally:
            if lock is not None:
                lock.release()
            _ONE_AT_A_TIME.release()

    def _connected(self) -> metadata.Metadata:
        try:
            return super().__enter__()
        except (RuntimeError, errors.StatusError) as error:
            backend = self._backend()
            if backend not in DEFAULT_PORTS:
                raise
            server = getattr(self._connection_config, backend)
            database = server.dbname if backend == "postgresql" else server.database
            place = f"{server.host}:{server.port}"
            raise Transient(
                _refused(backend, place, server.user, database), where="run.metadata", hint=_REFUSED
            ) from error

    def _backend(self) -> str:
        connection = self._connection_config
        is_config = isinstance(connection, metadata_store_pb2.ConnectionConfig)
        return str(connection.WhichOneof("config")) if is_config else ""

    def _file_lock(self) -> filelock.BaseFileLock | None:
        if self._backend() != "sqlite":
            return None
        return database_lock(Path(self._connection_config.sqlite.filename_uri))


@functools.cache  # A lock that nobody refers to any more would be released.
def database_lock(database: Path) -> filelock.BaseFileLock:
    """The lock that whoever opens an SQLite database holds; it ends with its process."""
    return filelock.FileLock(f"{database}.lock", thread_local=False)


@contextlib.contextmanager
def holding(database: Path) -> Iterator[None]:
    """Keeps other processes from an SQLite database.

    Raises:
        Busy: Another process has held it for long.
    """
    lock = database_lock(database)
    _acquire(lock)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: filelock.BaseFileLock) -> None:
    try:
        lock.acquire(timeout=_PATIENCE_S)
    except filelock.Timeout:
        raise Busy(
            f"another process has held the metadata database for {_PATIENCE_S:.0f} s",
            where=lock.lock_file,
            hint=f"`fuser {lock.lock_file}` names it. SQLite takes one writer at a time: for "
            "several machines, or many nodes at once, set run.metadata.backend to postgresql or "
            "mysql.",
        ) from None


def handle(ir: pipeline_pb2.Pipeline) -> SerializedMetadata:
    """The store that a compiled pipeline names; connected in a `with` block."""
    return SerializedMetadata(connection_of(ir))


def connection_of(ir: pipeline_pb2.Pipeline) -> metadata_store_pb2.ConnectionConfig:
    """How a compiled pipeline connects to its store."""
    connection = runner_utils.extract_local_deployment_config(ir).metadata_connection_config
    return getattr(connection, connection.WhichOneof("connection_config"))


def connection_config(config: PipelineConfig) -> metadata_store_pb2.ConnectionConfig:
    """The connection to the store that the config names.

    Raises:
        EnvironmentMismatch: A server's password is not in the environment.
    """
    settings = config.run.metadata
    if settings.backend == "sqlite":
        return metadata.sqlite_metadata_connection_config(str(sqlite_path(config)))
    if not settings.user:
        password = ""
    elif config.secrets_deferred:
        password = f"{_FROM_ENVIRONMENT}{settings.password_env}"
    else:
        password = _password(settings.backend, settings.user, settings.password_env)
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


_FROM_ENVIRONMENT = "environment:"


def reveal_password(ir: pipeline_pb2.Pipeline) -> None:
    """Fills in the password of a pipeline that was compiled with `secrets_deferred`, in place.

    Raises:
        EnvironmentMismatch: It is not in the environment.
    """
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    if not ir.deployment_config.Unpack(deployment):
        return
    connection = metadata_store_pb2.ConnectionConfig()
    if not deployment.metadata_connection_config.Unpack(connection):
        return
    kind = connection.WhichOneof("config")
    if kind not in ("mysql", "postgresql"):
        return
    server = getattr(connection, kind)
    stored = server.password.strip("'") if kind == "postgresql" else server.password
    if not stored.startswith(_FROM_ENVIRONMENT):
        return
    password = _password(kind, server.user, stored.removeprefix(_FROM_ENVIRONMENT))
    server.password = _quoted(password) if kind == "postgresql" else password
    deployment.metadata_connection_config.Pack(connection)
    ir.deployment_config.Pack(deployment)


def _password(backend: str, user: str, variable: str) -> str:
    password = os.environ.get(variable, "")
    if not password:
        raise EnvironmentMismatch(
            f"no password for {backend} user {user!r}",
            where="run.metadata",
            hint=f"Set the environment variable {variable}.",
        )
    return password


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
        place = f"{settings.host}:{settings.port or DEFAULT_PORTS[settings.backend]}"
        raise EnvironmentMismatch(
            _refused(settings.backend, place, settings.user, settings.database),
            where="run.metadata",
            hint=_REFUSED,
        ) from error


def _refused(backend: str, place: str, user: str, database: str) -> str:
    return f"{backend} at {place} does not let user {user!r} into database {database!r}"


_REFUSED = (
    "Is it running, does the database exist, and is the password in the variable that "
    "run.metadata.password_env names right? The log has its answer."
)


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
