"""Airflow 3 and 2.11: the real scheduler runs what `assay compile --to airflow` writes."""

from __future__ import annotations

import itertools
import json
import signal
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
from tests.conformance.suite import (
    DONE,
    FAILED,
    NOT_RUN,
    SKIPPED,
    Conformance,
    Run,
    Runner,
    Story,
    make_config,
    reference,
)
from tfx_pipeline.config import PipelineConfig
from tfx_pipeline.report import record as records
from tfx_pipeline.runners.airflow.compile import write_dag
from tfx_pipeline.runners.compiled import compile_config

__all__ = ["reference"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_WORDS = {"success": DONE, "failed": FAILED, "skipped": SKIPPED, "upstream_failed": NOT_RUN}
_LOG_URL = "http://127.0.0.1/logs/{run_id}/{node}.log"


def yaml(dag_id: str, repo: Path) -> str:
    """`run.airflow` of a test. The nodes find the components of the tests by PYTHONPATH."""
    settings = {
        "dag_id": dag_id,
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
            type(self).extra_yaml = yaml("story", repo)
            yield airflow

    @pytest.fixture(scope="class")
    def runner(self, airflow: Airflow) -> OnAirflow:
        return OnAirflow(airflow)

    def test_a_killed_node_is_tried_again_and_bad_data_are_not(
        self, runner: OnAirflow, tmp_path: Path, repo: Path
    ) -> None:
        config = make_config(tmp_path / "config", yaml("trouble", repo))
        (config.folder / "A").write_text("kill")
        (config.folder / "B").write_text("sleep 300")
        (config.folder / "C").write_text("data error")
        run_id = runner.trigger(config)
        node = until(lambda: sleeping_node(config.folder, runner.airflow))
        (config.folder / "B").unlink()
        task = node.parent()
        assert task is not None
        task.send_signal(signal.SIGKILL)
        gone, _ = psutil.wait_procs([node], timeout=20)
        assert gone, "the node outlived its task"
        run = runner.wait(config, run_id)
        others = dict.fromkeys(("Join", "Gate", "Push"), NOT_RUN)
        assert run.nodes == {"Source": DONE, "A": DONE, "B": DONE, "C": FAILED} | others
        assert not run.ok
        tries = {name: len((config.folder / f"{name}.tries").read_text()) for name in "ABC"}
        assert tries == {"A": 2, "B": 2, "C": 1}

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


class TestAirflow3(AirflowConformance):
    version = 3


class TestAirflow2(AirflowConformance):
    version = 2


def sleeping_node(folder: Path, airflow: Airflow) -> psutil.Process | None:
    """The process of the node B, once it is at work."""
    if not (folder / "B.tries").exists():
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
