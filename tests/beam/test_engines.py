"""The pipeline's Beam nodes on real Flink and Spark, against the run on FnApiRunner."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.beam import clusters
from tests.beam.clusters import FlinkCluster
from tests.beam.results import assert_same, statistics
from tests.e2e.project import Project

# Real clusters on two cores that other tests use as well.
pytestmark = [
    # Beam's loopback workers end with an exception in their threads when a job is over.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

MakeProject = Callable[[dict[str, Any]], Project]


@pytest.fixture
def enduring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    """A session cluster of two task managers, whose jobs start again as often as they have to.

    Beam's job server has an option for that, of streaming jobs alone: for ours the cluster's word
    counts, and each of the dozens of tasks that were on a lost worker is a restart.
    """
    folder = tmp_path_factory.mktemp("enduring")
    with clusters.flink_cluster(folder, task_managers=2, restarts=1000) as cluster:
        yield cluster


@pytest.fixture
def flink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    """A session cluster with one task manager of two slots."""
    with clusters.flink_cluster(tmp_path_factory.mktemp("flink")) as cluster:
        yield cluster


@contextlib.contextmanager
def killing(cluster: FlinkCluster) -> Iterator[dict[str, Any]]:
    """Kills a task manager once the next job has finished a part of its work and is at another."""
    seen: dict[str, Any] = {"killed": False}
    over = threading.Event()

    def watch() -> None:
        while not over.is_set() and not seen["killed"]:
            with contextlib.suppress(OSError, KeyError):
                job = cluster.running_job()
                if job and half_way(cluster, job):
                    cluster.kill_worker()
                    seen.update(killed=True, job=job)
            time.sleep(0.1)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def half_way(cluster: FlinkCluster, job: str) -> bool:
    vertices = cluster.get(f"/jobs/{job}")["vertices"]
    assert isinstance(vertices, list)
    states = [vertex["status"] for vertex in vertices]
    return states.count("FINISHED") >= 3 and "RUNNING" in states


@pytest.mark.flink
def test_embedded_flink_equals_the_local_run(make: MakeProject, local: Project) -> None:
    project = make({"runner": "flink", "parallelism": 1})
    project.run("--to", "Evaluator")
    assert_same(project, local)


@pytest.mark.flink
def test_a_session_cluster_loses_a_worker_and_the_run_recovers(
    make: MakeProject, local: Project, enduring: FlinkCluster
) -> None:
    flink = enduring
    project = make({"runner": "flink", "master": flink.master, "parallelism": 2})
    with killing(flink) as seen:
        project.run("--to", "Evaluator")
    assert seen["killed"], flink.logs()
    # The job that lost its worker is the one that ended well, and not another after a retry.
    assert flink.get(f"/jobs/{seen['job']}")["state"] == "FINISHED"
    assert project.latest.nodes["StatisticsGen"].tries == 1
    assert_same(project, local)


@pytest.mark.flink
def test_without_workers_the_run_fails_with_a_reason_and_resume_completes_it(
    make: MakeProject, local: Project, flink: FlinkCluster
) -> None:
    project = make({"runner": "flink", "master": flink.master, "parallelism": 2})
    with killing(flink) as seen:
        result = project.assay("run", "--to", "StatisticsGen")
    assert seen["killed"], flink.logs()
    assert result.code == 6, result.terminal
    assert project.latest.nodes["StatisticsGen"].state == "failed"
    assert "slot" in result.terminal.lower() or "TaskManager" in result.terminal, result.terminal
    flink.start_task_manager()
    flink.wait(1)
    resumed = project.assay("run", "--resume")
    assert resumed.code == 0, resumed.terminal
    assert project.latest.nodes["ExampleGen"].state in ("complete", "reused")
    assert statistics(project) == statistics(local)


@pytest.mark.spark
def test_spark_standalone_equals_the_local_run(
    make: MakeProject, local: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with clusters.spark_cluster(tmp_path_factory.mktemp("spark")) as cluster:
        project = make(
            {"runner": "spark", "master": cluster.master, "parallelism": 1, "memory_mb": 1024}
        )
        project.run("--to", "Evaluator")
    assert_same(project, local)
