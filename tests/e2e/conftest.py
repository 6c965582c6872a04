"""One small project, run once for all tests of a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.project import Project, Result, head, make_project


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory, taxi_csv: Path) -> Path:
    """1,500 real trips."""
    return head(taxi_csv, tmp_path_factory.mktemp("rows") / "taxi.csv", 1500)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, rows: Path) -> tuple[Project, Result]:
    """A project after its first `assay run`, and what that run printed."""
    project = make_project(tmp_path_factory.mktemp("first"), rows)
    return project, project.assay("run")
