"""Lineage on a metadata server: real PostgreSQL and MySQL (MariaDB) where they are installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
