"""DAG files in Airflow 3 and 2.11 themselves: they load, and tasks do what they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.airflow.conftest import CONTAINERS
from tests.conformance import pipeline
from tests.conformance.airflow_server import airflow_python
from tests.conformance.pipeline import UPSTREAM
from tests.conformance.suite import make_config
from tfx_pipeline.runners.airflow.compile import write_dag
from tfx_pipeline.runners.compiled import compile_config

pytestmark = pytest.mark.slow

PASSWORD = "a-password-of-a-test"
INSIDE = Path(__file__).with_name("inside.py")
EXTRA = """\
  metadata: {backend: postgresql, host: db, user: assay, password_env: MLMD_WORD}
"""
# All that a DAG can say, in one for each way to run nodes.
COMMON: dict[str, Any] = {
    "schedule": "0 6 * * 1",
    "timezone": "Europe/Berlin",
    "max_active_runs": 2,
    "max_active_tasks": 3,
    "dagrun_timeout_minutes": 600,
    "is_paused_upon_creation": False,
    "tags": ["assay", "ml"],
    "params": {"rows": 3, "note": None},
    "env": {"ROWS": "{{ params.rows }}"},
    "retries": 4,
    "retry_delay_seconds": 5,
    "timeout_minutes": 30,
    "pool": "ml",
    "log_url": "https://logs.example/{run_id}/{node}.log",
    "resources": {"cpu": "500m", "memory": "4Gi"},
    "nodes": {
        "B": {
            "retries": 0,
            "timeout_seconds": 90,
            "pool": "gpu",
            "pool_slots": 2,
            "priority_weight": 9,
            "env": {"OWN": "yes"},
            "resources": {"cpu_limit": 2, "memory_limit": "8Gi", "gpus": 1},
        }
    },
}
VOLUMES: dict[str, list[dict[str, Any]]] = {
    "process": [],
    "docker": [{"host_path": "/ml", "mount_path": "/ml"}],
    "kubernetes": [{"claim": "runs", "mount_path": "/ml", "sub_path": "taxi"}],
}
KUBERNETES = {"namespace": "ml", "service_account_name": "runner", "secret_env": {"PW": "db/pass"}}


def write(folder: Path, dag_id: str, extra: str = "", **airflow: Any) -> None:
    """Writes the DAG file of the small pipeline."""
    text = f"{extra}  airflow: {json.dumps({'dag_id': dag_id, **airflow})}\n"
    config = make_config(folder / f"project-{dag_id}", text)
    write_dag(compile_config(config, pipeline.create), folder / "dags" / dag_id)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DAG files in `dags`; those named plain-... say nothing but how nodes run."""
    folder = tmp_path_factory.mktemp("airflow")
    for way, needed in CONTAINERS.items():
        write(folder, f"plain-{way}", **needed)
        more = {"volumes": VOLUMES[way]}
        if way == "kubernetes":
            more["kubernetes"] = KUBERNETES  # type: ignore[assignment]
        write(folder, f"full-{way}", EXTRA, **COMMON, **needed, **more)
    assay = folder / "assay"
    assay.write_text(STAND_IN)
    assay.chmod(0o755)
    for name in [str(code) for code in CODES] + ["-9", "slow", "environment"]:
        env = {"OWN": "{{ not rendered here }}"}
        write(folder, f"run{name}", command=[str(assay), name], env=env)
    write(folder, "nowhere", command=[str(folder / "nothing")])
    return folder


# Stands for `assay`: its first argument says how it ends, the others are those of the task.
STAND_IN = """\
#!/bin/sh
echo "called with: $*"
case $1 in
    -9) kill -9 $$ ;;
    slow) sleep 300 & echo $! > "$0.child"; echo $$ > "$0.pid"; wait ;;
    environment) env | sed 's/^/env: /' ;;
    *) exit $1 ;;
esac
"""
CODES = {
    0: "",
    99: "AirflowSkipException",
    1: "AirflowException",
    2: "AirflowFailException",
    3: "AirflowFailException",
    4: "AirflowFailException",
    5: "AirflowFailException",
    6: "AirflowException",
    7: "AirflowFailException",
    8: "AirflowException",
    9: "AirflowException",
}


def inside(version: int, repo: Path, folder: Path, *words: str) -> dict[str, Any]:
    """What `inside.py` says in the Python of an Airflow."""
    python = airflow_python(version, repo)
    home = folder / f"home{version}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON"))}
    environment |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": "",
        "PYTHONPATH": "/nowhere",
        "MLMD_WORD": PASSWORD,
    }
    done = subprocess.run(
        [python, INSIDE, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {"printed": done.stdout, **found}


@pytest.fixture(scope="module", params=[3, 2], ids=["airflow3", "airflow2"])
def version(request: pytest.FixtureRequest, repo: Path) -> int:
    number: int = request.param
    airflow_python(number, repo)
    return number


@pytest.fixture(scope="module")
def loaded(version: int, repo: Path, folder: Path) -> dict[str, Any]:
    return inside(version, repo, folder, "load", str(folder / "dags"))


def test_every_dag_file_loads(loaded: dict[str, Any]) -> None:
    assert loaded["errors"] == {}
    assert {f"{kind}-{way}" for kind in ("plain", "full") for way in CONTAINERS} <= set(
        loaded["dags"]
    )


def test_nothing_heavy_is_imported_and_it_is_quick(loaded: dict[str, Any]) -> None:
    heavy = {"tfx", "tensorflow", "tfx_pipeline", "ml_metadata", "apache_beam", "trainer", "jax"}
    assert not heavy & set(loaded["modules"])
    # Airflow gives a file 30 s. Each takes some 20 ms; the providers' imports some seconds once.
    assert loaded["seconds"] < 30


def test_a_dag_is_as_configured(loaded: dict[str, Any]) -> None:
    for way in CONTAINERS:
        dag = loaded["dags"][f"full-{way}"]
        assert dag["schedule"] == "0 6 * * 1"
        assert dag["timezone"] == "Europe/Berlin"
        assert (dag["max_active_runs"], dag["catchup"]) == (2, False)
        assert dag["tags"] == ["assay", "ml"]
        assert dag["params"] == {"rows": 3, "note": None}


def test_tasks_are_as_configured(loaded: dict[str, Any], version: int) -> None:
    for way in CONTAINERS:
        tasks = loaded["dags"][f"full-{way}"]["tasks"]
        assert {node: set(task["upstream"]) for node, task in tasks.items()} == UPSTREAM
        links = ["Log of the node"] if version == 3 else []
        for node, task in tasks.items():
            assert task["trigger_rule"] == "none_failed"
            assert task["links"] == links
            assert f"/{node}.log" in task["doc_md"]
            assert task["owner"] == "assay"
            assert task["retry_delay"] == "0:00:05"
        a, b = tasks["A"], tasks["B"]
        assert (a["retries"], a["execution_timeout"], a["pool"]) == (4, "0:30:00", "ml")
        assert (b["retries"], b["execution_timeout"], b["pool"]) == (0, "0:01:30", "gpu")
        assert (b["pool_slots"], b["priority_weight"]) == (2, 9)


ARGUMENTS = ["--run-id={{ run_id | path_safe }}", "--runner=airflow"]


def test_a_container_is_as_configured(loaded: dict[str, Any], folder: Path) -> None:
    tasks = loaded["dags"]["full-docker"]["tasks"]
    a, b = tasks["A"], tasks["B"]
    ir = folder / "dags/full-docker/doubles.ir.json"
    assert a["entrypoint"] == ["assay"]
    assert a["command"] == ["run-node", "/assay/doubles.ir.json", "--node=A", *ARGUMENTS]
    assert a["image"] == "assay:1"
    assert a["skip_on_exit_code"] == [99]
    assert a["auto_remove"] == "force"
    assert (a["cpus"], a["mem_limit"]) == (0.5, 4 * 2**30)
    assert (b["cpus"], b["mem_limit"]) == (2.0, 8 * 2**30)
    assert a["environment"] == {"ROWS": "{{ params.rows }}"}
    assert b["environment"] == {"ROWS": "{{ params.rows }}", "OWN": "yes"}
    mounts = {mount["Target"]: (mount["Source"], mount["ReadOnly"]) for mount in a["mounts"]}
    assert mounts == {"/ml": ("/ml", False), "/assay/doubles.ir.json": (str(ir), True)}
    assert b["device_requests"][0]["Capabilities"] == [["gpu"]]


def test_a_pod_is_as_configured(loaded: dict[str, Any]) -> None:
    tasks = loaded["dags"]["full-kubernetes"]["tasks"]
    a, b = tasks["A"], tasks["B"]
    assert a["cmds"] == ["assay"]
    assert a["arguments"] == ["run-node", "/ml/doubles.ir.json", "--node=A", *ARGUMENTS]
    assert (a["image"], a["namespace"], a["service_account_name"]) == ("assay:1", "ml", "runner")
    assert a["skip_on_exit_code"] == [99]
    assert "'memory': '4Gi'" in a["container_resources"]
    assert "'nvidia.com/gpu': '1'" in b["container_resources"]
    assert "'claim_name': 'runs'" in a["volumes"][0]
    assert "'sub_path': 'taxi'" in a["volume_mounts"][0]
    assert "'value': '{{ params.rows }}'" in a["env_vars"][0]
    assert "'key': 'pass'" in a["env_vars"][1]
    assert len(b["env_vars"]) == 3


def test_airflow_stores_no_secret(loaded: dict[str, Any]) -> None:
    for way in CONTAINERS:
        dag = loaded["dags"][f"full-{way}"]
        assert "params.rows" in dag["serialized"]
        assert PASSWORD not in dag["serialized"]


@pytest.fixture(scope="module")
def executed(version: int, repo: Path, folder: Path) -> dict[str, dict[str, str]]:
    """How the task B of each DAG ended that has a stand-in for `assay`, and what it logged."""
    orders = [*(f"run{code}" for code in CODES), "run-9", "runenvironment", "nowhere", "runslow:2"]
    found = inside(version, repo, folder, "execute", str(folder / "dags"), *orders)
    parts = re.split(r"^### (\S+)\n", found.pop("printed"), flags=re.MULTILINE)
    logged = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {dag_id: {**outcome, "log": logged[dag_id]} for dag_id, outcome in found.items()}


@pytest.mark.parametrize("code", CODES)
def test_exit_codes_become_what_airflow_understands(
    executed: dict[str, dict[str, str]], code: int
) -> None:
    assert executed[f"run{code}"]["raised"] == CODES[code]


def test_the_node_is_called_with_its_names(
    executed: dict[str, dict[str, str]], folder: Path
) -> None:
    ir = folder / "dags/run0/doubles.ir.json"
    run_id = "manual__2026-01-01T00-00-00-00-00-ba08ec42"
    command = f"0 run-node {ir} --node=B --run-id={run_id} --runner=airflow"
    assert f"called with: {command}" in executed["run0"]["log"]


def test_a_killed_node_can_be_tried_again(executed: dict[str, dict[str, str]]) -> None:
    assert executed["run-9"]["raised"] == "AirflowException"
    assert "signal 9" in executed["run-9"]["message"]


def test_a_command_that_is_not_there_fails_at_once_and_is_named(
    executed: dict[str, dict[str, str]], folder: Path
) -> None:
    assert executed["nowhere"]["raised"] == "AirflowFailException"
    assert str(folder / "nothing") in executed["nowhere"]["message"]


def test_a_task_that_is_stopped_ends_all_that_it_started(
    executed: dict[str, dict[str, str]], folder: Path
) -> None:
    assert executed["runslow"]["raised"] == "AirflowException"
    for name in ("assay.pid", "assay.child"):
        assert not is_alive(int((folder / name).read_text()))


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_is_meant_for_airflow_does_not_reach_the_node(
    executed: dict[str, dict[str, str]],
) -> None:
    names = set(re.findall(r"env: (\w+)=", executed["runenvironment"]["log"]))
    assert {"OWN", "MLMD_WORD", "PATH"} <= names
    assert not [name for name in names if name.startswith(("AIRFLOW", "PYTHON"))]
