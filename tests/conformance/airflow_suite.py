"""The suite on a real Airflow: its scheduler runs what `assay compile --to airflow` writes."""

from __future__ import annotations

import itertools
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conformance import pipeline
from tests.conformance.airflow_server import Airflow, running_airflow
from tests.conformance.lineage import lineage
from tests.conformance.pipeline import NODES
from tests.conformance.suite import (
    DONE,
    FAILED,
    NOT_RUN,
    SKIPPED,
    Conformance,
    Run,
    Runner,
    Story,
)
from tfx_pipeline.config import PipelineConfig
from tfx_pipeline.report import record as records
from tfx_pipeline.runners.airflow.compile import write_dag
from tfx_pipeline.runners.compiled import compile_config

_WORDS = {"success": DONE, "failed": FAILED, "skipped": SKIPPED, "upstream_failed": NOT_RUN}
_LOG_URL = "http://127.0.0.1/logs/{run_id}/{node}.log"


def yaml(repo: Path) -> str:
    """`run.airflow` of the story. Nodes find the components of the tests by PYTHONPATH."""
    settings = {
        "dag_id": "story",
        "retries": 1,
        "retry_delay_seconds": 0,
        "log_url": _LOG_URL,
        "env": {"PYTHONPATH": str(repo)},
    }
    return f"  airflow: {json.dumps(settings)}\n"


class OnAirflow(Runner):
    """The scheduler starts the tasks; a failed run goes on after `airflow tasks clear`."""

    def __init__(self, airflow: Airflow) -> None:
        self.airflow = airflow
        self._ids = itertools.count(1)

    def trigger(self, config: PipelineConfig) -> str:
        """Starts a run; its id is one that Airflow makes, and not fit for a path."""
        dag_id = config.run.airflow.dag_id
        write_dag(compile_config(config, pipeline.create), self.airflow.dags / dag_id)
        run_id = f"manual__2026-01-{next(self._ids):02}T00:00:00+00:00"
        self.airflow.trigger(dag_id, run_id)
        return run_id

    def start(self, config: PipelineConfig) -> Run:
        return self.wait(config, self.trigger(config))

    def go_on(self, config: PipelineConfig, run: Run) -> Run:
        dag_id = config.run.airflow.dag_id
        code, printed = self.airflow.command("tasks", "clear", dag_id, "--only-failed", "--yes")
        assert code == 0, printed
        day = run.run_id.removeprefix("manual__2026-01-")[:2]
        return self.wait(config, f"manual__2026-01-{day}T00:00:00+00:00")

    def wait(self, config: PipelineConfig, run_id: str) -> Run:
        """Waits for the end of a run."""
        dag_id = config.run.airflow.dag_id
        tasks = self.airflow.wait(dag_id, run_id)
        ok = self.airflow.state(dag_id, run_id) == "success"
        start = run_id.split(":")[0]
        [folder] = [name for name in records.run_ids(config.root) if name.startswith(start)]
        return Run(folder, ok, {node: _WORDS[state] for node, state in tasks.items()})


class AirflowConformance(Conformance):
    """The suite, and what only Airflow has."""

    version = 0

    @pytest.fixture(scope="class")
    def airflow(self, tmp_path_factory: pytest.TempPathFactory, repo: Path) -> Iterator[Airflow]:
        folder = tmp_path_factory.mktemp(f"airflow{self.version}")
        with running_airflow(self.version, folder, repo) as airflow:
            type(self).extra_yaml = yaml(repo)
            yield airflow

    @pytest.fixture(scope="class")
    def runner(self, airflow: Airflow) -> OnAirflow:
        return OnAirflow(airflow)

    def test_a_run_completes_though_a_task_is_killed(self, runner: OnAirflow, story: Story) -> None:
        """Airflow's process of a task dies by SIGKILL while its node works."""
        folder = story.config.folder
        (folder / "mark").write_text("3")
        (folder / "B").write_text("sleep 300")
        run_id = runner.trigger(story.config)
        node = until(lambda: sleeping_node(folder, story.tries[-1]["B"], runner.airflow))
        (folder / "B").unlink()
        task = node.parent()
        assert task is not None
        task.kill()
        gone, _ = psutil.wait_procs([node], timeout=20)
        assert gone, "the node outlived its task"
        run = runner.wait(story.config, run_id)
        assert run.ok
        assert run.nodes == dict.fromkeys(NODES, DONE) | {"Push": SKIPPED}
        assert len((folder / "B.tries").read_text()) == story.tries[-1]["B"] + 2
        of = {entry["node"].rpartition(".")[2]: entry for entry in lineage(story.store, run.run_id)}
        assert of["Join"]["state"] == "COMPLETE"

    def test_a_task_says_where_its_log_is(self, airflow: Airflow, story: Story) -> None:
        said = airflow.log("story", "A")
        path = story.config.root / story.first.run_id / "logs" / "A.log"
        url = f"http://127.0.0.1/logs/{story.first.run_id}/A.log"
        assert str(path) in said
        assert path.stat().st_size > 0
        assert url in said
        if airflow.url:
            run_id = urllib.parse.quote("manual__2026-01-01T00:00:00+00:00")
            task = f"dags/story/dagRuns/{run_id}/taskInstances/A"
            links = ask(airflow, f"{task}/links")
            assert links["extra_links"] == {"Log of the node": url}


def sleeping_node(folder: Path, tries: int, airflow: Airflow) -> psutil.Process | None:
    """The process of the node B, once it is at work after so many tries."""
    if len((folder / "B.tries").read_text()) == tries:
        return None
    for process in airflow.processes():
        with suppress(psutil.Error):
            words = process.cmdline()
            if "run-node" in words and "--node=B" in words:
                return process
    return None


def until(what: Callable[[], psutil.Process | None], seconds: float = 200) -> psutil.Process:
    deadline = time.monotonic() + seconds
    while (found := what()) is None:
        assert time.monotonic() < deadline, "it never came to this"
        time.sleep(0.1)
    return found


def ask(airflow: Airflow, path: str) -> dict[str, dict[str, str]]:
    """An answer of Airflow 3's REST API."""
    with urllib.request.urlopen(f"{airflow.url}/auth/token", timeout=30) as answer:
        token = json.load(answer)["access_token"]
    request = urllib.request.Request(
        f"{airflow.url}/api/v2/{path}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, dict[str, str]] = json.load(answer)
    return found
