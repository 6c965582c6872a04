"""A real Airflow for tests: its scheduler, and what else its version needs, on loopback only."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.runners.database_servers import (
    PASSWORD,
    binary,
    free_port,
    postgresql_server,
    short_folder,
)

_STARTS_SECONDS = 120
_MARK = "ASSAY_TEST_AIRFLOW"

# A process that has imported Airflow's command line once, and forks for every command.
_COMMANDS = """
import importlib, json, os, sys
from airflow import settings
from airflow.cli import cli_parser
from sqlalchemy import text

# The command line has it, too, and takes a second of the processor's time each time.
STATE = text("select state from dag_run where dag_id = :dag_id and run_id = :run_id")

def state_of(dag_id, run_id):
    with settings.engine.connect() as connection:
        found = connection.execute(STATE, {"dag_id": dag_id, "run_id": run_id}).scalar()
    settings.engine.dispose()  # No child shall inherit a connection.
    return found

for name in ("dag_command", "task_command", "db_command"):
    importlib.import_module(f"airflow.cli.commands.{name}")
parser = cli_parser.get_parser()
print("ready", file=sys.stderr, flush=True)
for line in sys.stdin:
    output, *words = json.loads(line)
    if not output:
        print("ended", state_of(*words), file=sys.stderr, flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        code = 1
        try:
            arguments = parser.parse_args(words)
            code = arguments.func(arguments) or 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            import traceback
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(int(code) if isinstance(code, int) else 0)
    _, status = os.waitpid(pid, 0)
    print("ended", os.waitstatus_to_exitcode(status), file=sys.stderr, flush=True)
"""


def airflow_python(version: int, repo: Path) -> Path:
    """The Python of an Airflow; the test is skipped where it has not been set up."""
    python = repo / f".venv-airflow{version}" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"Airflow {version} is not set up: run `make airflow`")
    return python


@dataclass
class Airflow:
    """A running Airflow.

    Attributes:
        version: 2 or 3.
        home: `AIRFLOW_HOME`.
        url: Of the API server; Airflow 2 has none here.
    """

    version: int
    home: Path
    python: Path
    environment: dict[str, str]
    url: str = ""
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _commands: subprocess.Popen[str] | None = None

    @property
    def dags(self) -> Path:
        """Where DAG files go."""
        return self.home / "dags"

    def command(self, *words: str) -> tuple[int, str]:
        """Runs `airflow WORDS`: its exit code, and what it printed."""
        output = self.home / "command.out"
        return int(self._ask(str(output), *words)), output.read_text(errors="replace")

    def state(self, dag_id: str, run_id: str) -> str:
        """How a run stands."""
        return self._ask("", dag_id, run_id)

    def _ask(self, *words: str) -> str:
        if self._commands is None:
            self._commands = subprocess.Popen(
                [self.python, "-c", _COMMANDS],
                stdin=subprocess.PIPE,
                stdout=(self.home / "commands.log").open("wb"),
                stderr=subprocess.PIPE,
                env=self.environment,
                cwd=self.home,
                text=True,
                start_new_session=True,
            )
            self._told("ready")
        assert self._commands.stdin is not None
        self._commands.stdin.write(json.dumps(words) + "\n")
        self._commands.stdin.flush()
        return self._told("ended")

    def _told(self, word: str) -> str:
        assert self._commands is not None
        assert self._commands.stderr is not None
        said = []
        for line in self._commands.stderr:
            if line.startswith(word):
                return line.removeprefix(word).strip()
            said.append(line)
        raise AssertionError("".join(said))

    def table(self, *words: str) -> list[dict[str, Any]]:
        """The rows that `airflow WORDS -o json` prints."""
        code, printed = self.command(*words, "-o", "json")
        assert code == 0, printed
        start = printed.rindex("\n[{") + 1 if "\n[{" in printed else printed.index("[")
        rows: list[dict[str, Any]] = json.loads(printed[start:])
        return rows

    def start_daemon(self, *words: str) -> None:
        """Starts `airflow WORDS`; its output goes to a file in `home`."""
        with (self.home / f"{words[0]}.log").open("wb") as log:
            self._daemons[words[0]] = subprocess.Popen(
                [self.python, "-m", "airflow", *words],
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.home,
                start_new_session=True,
            )

    def wait_for_api(self) -> None:
        """Waits until the API server answers."""
        deadline = time.monotonic() + _STARTS_SECONDS
        while True:
            self._check()
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/api/v2/version", timeout=5):
                return
            assert time.monotonic() < deadline, "the API server does not answer"
            time.sleep(0.3)

    def trigger(self, dag_id: str, run_id: str) -> None:
        """Starts a run, as soon as the DAG file has been read."""
        deadline = time.monotonic() + _STARTS_SECONDS
        while True:
            code, printed = self.command("dags", "trigger", dag_id, "--run-id", run_id)
            if code == 0:
                return
            self._check()
            assert time.monotonic() < deadline, printed
            time.sleep(0.5)

    def wait(self, dag_id: str, run_id: str, seconds: float = 400) -> dict[str, str]:
        """Waits for the end of a run: the states of its tasks."""
        deadline = time.monotonic() + seconds
        while self.state(dag_id, run_id) not in ("success", "failed"):
            self._check()
            assert time.monotonic() < deadline, self.tasks(dag_id, run_id)
            time.sleep(1)
        return self.tasks(dag_id, run_id)

    def tasks(self, dag_id: str, run_id: str) -> dict[str, str]:
        """The states of the tasks of a run."""
        rows = self.table("tasks", "states-for-dag-run", dag_id, run_id)
        return {row["task_id"]: row["state"] for row in rows}

    def log(self, dag_id: str, task_id: str) -> str:
        """What the task logs of a node say, all runs and tries together."""
        files = self.home.glob(f"logs/dag_id={dag_id}/*/task_id={task_id}/*.log")
        return "\n".join(file.read_text(errors="replace") for file in files)

    def _check(self) -> None:
        for name, process in self._daemons.items():
            end = (self.home / f"{name}.log").read_text(errors="replace")[-2000:]
            assert process.poll() is None, f"airflow {name} has ended:\n{end}"

    def stop(self) -> None:
        """Ends every process that belongs to this Airflow, whoever its parent is by now."""
        while found := list(self.processes()):
            for process in found:
                with suppress(psutil.Error):
                    process.kill()
            for started in self._started():
                started.wait()
            psutil.wait_procs(found, timeout=10)

    def processes(self) -> Iterator[psutil.Process]:
        """What was started by this Airflow, directly or not, and has not ended.

        Airflow's workers write their title over their environment, and are known by their session;
        nodes have sessions of their own, and are known by their environment.
        """
        sessions = {process.pid for process in self._started()}
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                mine = os.getsid(process.pid) in sessions
                mine = mine or process.environ().get(_MARK) == str(self.home)
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    def _started(self) -> list[subprocess.Popen[Any]]:
        commands = [self._commands] if self._commands is not None else []
        return [*self._daemons.values(), *commands]


@contextmanager
def running_airflow(version: int, folder: Path, repo: Path) -> Iterator[Airflow]:
    """Starts an Airflow; ends all of it whatever happens."""
    python = airflow_python(version, repo)
    with ExitStack() as stack:
        port = free_port()
        settings = _settings(folder, port) | _database(version, stack)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON"))}
        inherited["PATH"] = f"{python.parent}{os.pathsep}{inherited['PATH']}"
        airflow = Airflow(version, folder, python, inherited | settings)
        airflow.dags.mkdir()
        stack.callback(airflow.stop)
        code, printed = airflow.command("db", "migrate")
        assert code == 0, printed
        airflow.start_daemon("scheduler", "--skip-serve-logs")
        if version == 3:
            airflow.url = f"http://127.0.0.1:{port}"
            airflow.start_daemon("api-server", "--host", "127.0.0.1", "--port", str(port))
            airflow.start_daemon("dag-processor")
            airflow.wait_for_api()  # Without it, a task that starts fails.
        yield airflow


def _settings(home: Path, port: int) -> dict[str, str]:
    """Environment variables: quick, quiet, and nothing that leaves the machine."""
    url = f"http://127.0.0.1:{port}"
    sections = {
        "core": {
            "load_examples": "False",
            "dags_folder": str(home / "dags"),
            "executor": "LocalExecutor",
            "parallelism": "3",
            "dags_are_paused_at_creation": "False",
            "execution_api_server_url": f"{url}/execution/",
            "simple_auth_manager_all_admins": "True",
        },
        "scheduler": {
            "scheduler_heartbeat_sec": "1",
            "job_heartbeat_sec": "1",
            "scheduler_idle_sleep_time": "0.5",
            "dag_dir_list_interval": "2",
            "min_file_process_interval": "60",
            "parsing_processes": "1",
        },
        "dag_processor": {
            "refresh_interval": "2",
            "bundle_refresh_check_interval": "1",
            "min_file_process_interval": "60",
            "parsing_processes": "1",
        },
        "api": {"base_url": url, "port": str(port), "workers": "1", "secret_key": "s" * 32},
        "api_auth": {"jwt_secret": "j" * 64},
        "usage_data_collection": {"enabled": "False"},
        "logging": {"logging_level": "INFO"},
    }
    return {
        f"AIRFLOW__{section}__{key}".upper(): value
        for section, values in sections.items()
        for key, value in values.items()
    } | {
        "AIRFLOW_HOME": str(home),
        _MARK: str(home),  # Reaches the nodes, too: `stop` finds all by it.
        "SCARF_ANALYTICS": "false",
    }


def _database(version: int, stack: ExitStack) -> dict[str, str]:
    """Airflow 3 takes SQLite; with a LocalExecutor 2.11 does not."""
    if version == 3:
        return {}
    try:
        binary("postgres")
    except pytest.skip.Exception:  # Then one task at a time.
        return {"AIRFLOW__CORE__EXECUTOR": "SequentialExecutor"}
    port = stack.enter_context(postgresql_server(stack.enter_context(short_folder())))
    where = f"assay:{urllib.parse.quote(PASSWORD)}@127.0.0.1:{port}/mlmd"
    return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{where}"}
