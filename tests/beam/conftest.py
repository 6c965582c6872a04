"""Projects on real engines; they skip, with the reason, where Java or the jars are absent."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.beam import clusters
from tests.e2e.project import TAXI, Project, head, make_project

MakeProject = Callable[[dict[str, Any]], Project]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what is marked flink or spark where that engine cannot run."""
    for engine in ("flink", "spark"):
        reason = clusters.why_not(engine)
        for item in items:
            if reason and item.get_closest_marker(engine) and "tests/beam" in str(item.path):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def few_rows(tmp_path_factory: pytest.TempPathFactory, taxi_csv: Path) -> Path:
    """400 real trips."""
    return head(taxi_csv, tmp_path_factory.mktemp("rows") / "taxi.csv", 400)


@pytest.fixture(scope="module")
def make(
    tmp_path_factory: pytest.TempPathFactory, few_rows: Path
) -> Iterator[Callable[[dict[str, Any]], Project]]:
    """Makes a project with a `run.beam`; the job servers that it starts end with the module."""
    from tfx_pipeline.runners.beam import runner

    def made(beam: dict[str, Any]) -> Project:
        document = copy.deepcopy(TAXI)
        document["run"]["beam"] = beam
        document["train"]["steps"] = 20
        return make_project(tmp_path_factory.mktemp("project") / "p", few_rows, document)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_JARS", str(clusters.JARS))
        # Where the host's name is not its loopback address, Spark would listen there.
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("JAVA_TOOL_OPTIONS", clusters.SHORT_LIVED)
        yield made
        runner.stop_all()


@pytest.fixture(scope="module")
def local(make: MakeProject) -> Project:
    """The run on FnApiRunner that the others must equal."""
    project = make({})
    project.run("--to", "Evaluator")
    return project
