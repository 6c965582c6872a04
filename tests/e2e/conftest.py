"""One small project, run once for all tests of a process (`tests/scheduling.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.project import Project, Result, head, make_project
from tfx_pipeline.report import record as records
from tfx_pipeline.report.record import RunRecord


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory, taxi_csv: Path) -> Path:
    """1,500 real trips."""
    return head(taxi_csv, tmp_path_factory.mktemp("rows") / "taxi.csv", 1500)


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory, rows: Path) -> tuple[Project, Result]:
    """A project after its first `assay run`, and what that run printed.

    Whoever changes it puts it back: `Project.changed`.
    """
    project = make_project(tmp_path_factory.mktemp("first"), rows)
    return project, project.assay("run")


@pytest.fixture(scope="session")
def first_run(first: tuple[Project, Result]) -> RunRecord:
    """The record of that run."""
    project, result = first
    assert result.code == 0, result.terminal
    return records.load_exactly(project.config.root, project.runs[0])
