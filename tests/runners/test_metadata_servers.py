"""Lineage on real PostgreSQL and MySQL (MariaDB) servers, where they are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_metadata.errors import InternalError
from ml_metadata.metadata_store.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from tests.conformance import pipeline
from tests.conformance.lineage import lineage_digest
from tests.conformance.pipeline import NODES
from tests.runners import doubles
from tests.runners.database_servers import (
    PASSWORD,
    YAML,
    mysql_server,
    postgresql_server,
    short_folder,
)
from tests.runners.remembering import Remembering
from tfx_pipeline.config import PipelineConfig, load_config
from tfx_pipeline.errors import AssayError, EnvironmentMismatch
from tfx_pipeline.report import record as records
from tfx_pipeline.runners import mlmd
from tfx_pipeline.runners.compiled import compile_config, write_to
from tfx_pipeline.runners.local import RunOptions, run_pipeline

pytestmark = pytest.mark.slow


@pytest.fixture
def postgresql() -> Iterator[int]:
    with short_folder() as folder, postgresql_server(folder) as port:
        yield port


@pytest.fixture
def mysql() -> Iterator[int]:
    with short_folder() as folder, mysql_server(folder) as port:
        yield port


def with_backend(config: PipelineConfig, backend: str, port: int) -> PipelineConfig:
    path = config.folder / "pipeline.yaml"
    path.write_text(path.read_text() + YAML.format(backend=backend, port=port))
    return load_config(path)


def check(config: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_METADATA_PASSWORD", raising=False)
    with pytest.raises(EnvironmentMismatch, match="no password"):
        run_pipeline(config, RunOptions(), Remembering(), doubles.create)
    monkeypatch.setenv("ASSAY_METADATA_PASSWORD", "wrong")
    with pytest.raises(AssayError) as refused:
        run_pipeline(config, RunOptions(), Remembering(), doubles.create)
    assert refused.value.exit_code == EnvironmentMismatch.exit_code
    monkeypatch.setenv("ASSAY_METADATA_PASSWORD", PASSWORD)
    first = run_pipeline(config, RunOptions(), Remembering(), doubles.create)
    again = run_pipeline(config, RunOptions(), Remembering(), doubles.create)
    assert {node.state for node in first.nodes.values()} == {"complete"}
    assert {node.state for node in again.nodes.values()} == {"cached"}
    assert not (config.root / "metadata.db").exists()
    for file in config.root.rglob("*"):
        if file.is_file() and file.suffix in (".json", ".yaml", ".log"):
            assert PASSWORD not in file.read_text(), file


def test_postgresql(
    config: PipelineConfig, postgresql: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(with_backend(config, "postgresql", postgresql), monkeypatch)


def test_mysql(config: PipelineConfig, mysql: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check(with_backend(config, "mysql", mysql), monkeypatch)


NESTED = r'{"config": "{\\"path\\": \\"C:\\\\data\\"}", "quote": "it\'s"}'


def test_postgresql_carries_backslashes(
    config: PipelineConfig, postgresql: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_METADATA_PASSWORD", PASSWORD)
    connection = mlmd.connection_config(with_backend(config, "postgresql", postgresql))
    with mlmd.SerializedMetadata(connection) as handle:
        kind = metadata_store_pb2.ExecutionType(name="Nested", properties={"text": 3})
        execution = metadata_store_pb2.Execution(
            type_id=handle.store.put_execution_type(kind),
            properties={"text": {"string_value": NESTED}},
        )
        [number] = handle.store.put_executions([execution])
        [found] = handle.store.get_executions_by_id([number])
    assert found.properties["text"].string_value == NESTED
    # Once MLMD can, runners/backslashes.py can go.
    with pytest.raises(InternalError, match="syntax error"):
        MetadataStore(connection).put_executions([execution])


PROCESSES = 2
# Each imports first, so that all begin at once, on a database without a table. The nodes need no
# TensorFlow, which takes most of a process's time.
CHILD = """
import sys
from pathlib import Path
from tfx_pipeline.runners import placeholders
placeholders.install()
from tfx_pipeline.runners.compiled import read
from tfx_pipeline.runners.lone_node import run_lone_node
compiled = read(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for node in sys.argv[3:]:
    outcome, _ = run_lone_node(compiled, node, sys.argv[2])
    assert outcome.state == "complete", outcome
"""


@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mysql"])
def test_several_runs_at_once(
    config: PipelineConfig,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    repo: Path,
    backend: str,
) -> None:
    monkeypatch.setenv("ASSAY_METADATA_PASSWORD", PASSWORD)
    if backend != "sqlite":
        config = with_backend(config, backend, request.getfixturevalue(backend))
    [path] = write_to(compile_config(config.with_run(cache=False), pipeline.create), config.folder)
    run_ids = [f"run-{number}" for number in range(PROCESSES)]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), run_id, *NODES],
            cwd=repo, env={**os.environ, "PYTHONPATH": str(repo)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for run_id in run_ids
    ]  # fmt: skip
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
    for child in children:
        _, said = child.communicate(timeout=240)
        assert child.returncode == 0, said.decode()[-2000:]
    store = mlmd.connection_config(config)
    assert len({lineage_digest(store, run_id) for run_id in run_ids}) == 1
    assert {record.state for record in records.load_all(config.root)} == {"complete"}
