"""What stands in the DAG file. tests/airflow/test_real_airflow.py loads it in Airflow itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.airflow.conftest import CONTAINERS, CompileWith, TextWith
from tests.conformance.pipeline import UPSTREAM
from tests.conformance.suite import make_config
from tfx_pipeline.config.airflow import (
    AirflowConfig,
    AirflowDocker,
    AirflowKubernetes,
    AirflowNode,
    AirflowResources,
    AirflowVolume,
)
from tfx_pipeline.errors import SKIPPED_EXIT_CODE, ConfigError, Transient
from tfx_pipeline.runners import compiled as compiled_lib
from tfx_pipeline.runners.airflow.compile import checked, deployed, write_dag

WAYS = sorted(CONTAINERS)


def assigned(text: str, name: str) -> Any:
    """The value of a constant of the file, without its calls."""
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return ast.literal_eval(statement.value)
    raise KeyError(name)


@pytest.mark.parametrize("way", WAYS)
def test_it_imports_nothing_of_ours_nor_of_tfx(text_with: TextWith, way: str) -> None:
    imported = set()
    for node in ast.walk(ast.parse(text_with(**CONTAINERS[way]))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    others = imported - set(sys.stdlib_module_names)
    assert others <= {"airflow", "pendulum", "docker", "kubernetes"}


@pytest.mark.parametrize("way", WAYS)
def test_compiling_twice_gives_the_same_bytes(
    compile_with: CompileWith, way: str, tmp_path: Path
) -> None:
    settings = {**CONTAINERS[way], "nodes": {"B": {"env": {"B": "b"}}}, "env": {"B": "1", "A": "2"}}
    first = write_dag(compile_with(**settings), tmp_path / "1")
    second = write_dag(compile_with(**settings), tmp_path / "2")
    assert [path.name for path in first] == ["doubles.py", "doubles.ir.json"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert compiled_lib.read(first[1]).config.run.airflow.env == {"B": "1", "A": "2"}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_laid_out_as_black_would(text_with: TextWith, way: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "log_url": "https://logs.example/{run_id}/{node}",
        "schedule": "@daily",
    }
    settings["nodes"] = {"B": {"timeout_minutes": 1.5, "resources": {"cpu": 2, "gpus": 1}}}
    settings["volumes"] = [{"host_path": "/data", "mount_path": "/data", "read_only": True}]
    for number, more in enumerate(({}, settings)):
        (tmp_path / f"{number}.py").write_text(text_with(**CONTAINERS[way], **more))
    ruff = str(Path(sys.executable).with_name("ruff"))
    # E501: a path of this machine may be longer than a line, and stays in one piece.
    for words in (["format", "--diff"], ["check", "--select=E,F,W,I,UP,B", "--ignore=E501"]):
        command = [ruff, *words, "--isolated", "--line-length=88", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_tasks_wait_as_the_pipeline_says(text_with: TextWith) -> None:
    upstream = assigned(text_with(), "UPSTREAM")
    assert {node: set(before) for node, before in upstream.items()} == UPSTREAM


# A value of each field, and what of it must be in the file; "" where another test looks.
NODE: dict[str, tuple[Any, str]] = {
    "retries": (7, '"retries": 7'),
    "timeout_minutes": (1.5, '"execution_timeout": timedelta(seconds=90)'),
    "timeout_seconds": (0.25, '"execution_timeout": timedelta(seconds=0.25)'),
    "pool": ("gpu", '"pool": "gpu"'),
    "pool_slots": (3, '"pool_slots": 3'),
    "queue": ("big", '"queue": "big"'),
    "priority_weight": (9, '"priority_weight": 9'),
    "env": ({"K": "v"}, '"env": {"K": "v"}'),
    "command": (["/opt/assay"], '["/opt/assay"]'),
    "image": ("assay:gpu", '"image": "assay:gpu"'),
    "resources": ({"memory": "3Mi"}, "3"),
    "node_selector": ({"disk": "fast"}, '"node_selector": {"disk": "fast"}'),
}
WHOLE: dict[str, tuple[Any, str]] = {
    "dag_id": ("another", 'dag_id="another"'),
    "description": ("says it", 'description="says it"'),
    "schedule": ("0 6 * * 1", 'schedule="0 6 * * 1"'),
    "start_date": ("2024-02-03", "pendulum.datetime(year=2024, month=2, day=3"),
    "timezone": ("Europe/Berlin", 'tz="Europe/Berlin"'),
    "catchup": (True, "catchup=True"),
    "max_active_runs": (4, "max_active_runs=4"),
    "max_active_tasks": (5, "max_active_tasks=5"),
    "dagrun_timeout_minutes": (30, "dagrun_timeout=timedelta(seconds=1800)"),
    "is_paused_upon_creation": (False, "is_paused_upon_creation=False"),
    "tags": (["a", "b"], 'tags=["a", "b"]'),
    "owner": ("team", '"owner": "team"'),
    "params": ({"rows": 3}, 'params={"rows": 3}'),
    "env": ({"DAY": "{{ ds }}"}, 'ENV = {"DAY": "{{ ds }}"}'),
    "retries": (0, '"retries": 0'),
    "retry_delay_seconds": (2.5, '"retry_delay": timedelta(seconds=2.5)'),
    "timeout_minutes": (2, '"execution_timeout": timedelta(seconds=120)'),
    "timeout_seconds": (3, '"execution_timeout": timedelta(seconds=3)'),
    "pool": ("ml", '"pool": "ml"'),
    "queue": ("ml", '"queue": "ml"'),
    "log_url": ("https://x/{run_id}/{node}", 'LOG_URL = "https://x/{run_id}/{node}"'),
    "run_in": ("process", "subprocess.Popen"),
    "command": (["/opt/assay", "--debug"], 'ASSAY = ["/opt/assay", "--debug"]'),
    "image": ("", ""),  # With Docker and Kubernetes, below.
    "ir_path": ("/ir/x.json", 'IR = "/ir/x.json"'),
    "project_dir": ("", ""),
    "volumes": ([], ""),
    "resources": ({}, ""),
    "docker": ({}, ""),
    "kubernetes": ({}, ""),
    "nodes": ({"B": {"retries": 7}}, '"B": {"retries": 7}'),
}
DOCKER: dict[str, tuple[Any, str]] = {
    "docker_url": ("tcp://host:2375", '"docker_url": "tcp://host:2375"'),
    "docker_conn_id": ("registry", '"docker_conn_id": "registry"'),
    "network_mode": ("host", '"network_mode": "host"'),
    "user": ("1000:1000", '"user": "1000:1000"'),
    "force_pull": (True, '"force_pull": True'),
}
KUBERNETES: dict[str, tuple[Any, str]] = {
    "namespace": ("ml", '"namespace": "ml"'),
    "kubernetes_conn_id": ("k8s", '"kubernetes_conn_id": "k8s"'),
    "in_cluster": (False, '"in_cluster": False'),
    "service_account_name": ("runner", '"service_account_name": "runner"'),
    "image_pull_policy": ("Always", '"image_pull_policy": "Always"'),
    "image_pull_secrets": (["reg"], 'k8s.V1LocalObjectReference(name="reg")'),
    "node_selector": ({"disk": "fast"}, '"node_selector": {"disk": "fast"}'),
    "labels": ({"team": "ml"}, '"labels": {"team": "ml"}'),
    "annotations": ({"a/b": "c"}, '"annotations": {"a/b": "c"}'),
    "startup_timeout_seconds": (77, '"startup_timeout_seconds": 77'),
    "secret_env": ({"PW": "db/pass"}, 'SECRETS = [["PW", "db", "pass"]]'),
}
RESOURCES: dict[str, tuple[Any, str]] = {
    "cpu": ("500m", 'requests={"cpu": "500m"}'),
    "memory": ("4Gi", 'requests={"memory": "4Gi"}'),
    "cpu_limit": (2, 'limits={"cpu": "2"}'),
    "memory_limit": ("5Gi", 'limits={"memory": "5Gi"}'),
    "gpus": (2, 'limits={"nvidia.com/gpu": "2"}'),
}
VOLUME: dict[str, tuple[Any, str]] = {
    "claim": ("runs", 'V1PersistentVolumeClaimVolumeSource(claim_name="runs")'),
    "host_path": ("/data", 'V1HostPathVolumeSource(path="/data")'),
    "config_map": ("ir", 'V1ConfigMapVolumeSource(name="ir")'),
    "secret": ("key", 'V1SecretVolumeSource(secret_name="key")'),
    "mount_path": ("/seen", 'mount_path="/seen"'),
    "sub_path": ("part", 'sub_path="part"'),
    "read_only": (True, "read_only=True"),
}


@pytest.mark.parametrize(
    ("section", "cases"),
    [(AirflowConfig, WHOLE), (AirflowNode, NODE), (AirflowDocker, DOCKER),
     (AirflowKubernetes, KUBERNETES), (AirflowResources, RESOURCES), (AirflowVolume, VOLUME)],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)  # fmt: skip
def test_no_field_is_forgotten_here(section: type[BaseModel], cases: dict[str, Any]) -> None:
    assert set(cases) == set(section.model_fields)


def squeezed(text: str) -> str:
    """Without the line breaks of long values."""
    return " ".join(text.split()).replace("( ", "(").replace(", )", ")").replace(",)", ")")


@pytest.mark.parametrize("field", sorted(name for name in WHOLE if WHOLE[name][1]))
def test_every_field_reaches_the_file(text_with: TextWith, field: str) -> None:
    value, expected = WHOLE[field]
    assert expected in squeezed(text_with(**{field: value}))
    if field != "run_in":
        assert expected not in squeezed(text_with())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("field", sorted(NODE))
def test_a_field_of_a_node_holds_for_that_node_only(
    text_with: TextWith, field: str, way: str
) -> None:
    value, expected = NODE[field]
    text = text_with(**CONTAINERS[way], nodes={"B": {field: value}})
    settings = squeezed(text.partition("\nSETTINGS = ")[2].partition("\n\n\n")[0])
    of_others = {"process": {"image", "resources", "node_selector"}, "docker": {"node_selector"}}
    if field in of_others.get(way, ()):
        assert settings == '{"B": {}}'
    else:
        assert expected in settings


@pytest.mark.parametrize("field", sorted(DOCKER))
def test_docker_has_every_field(text_with: TextWith, field: str) -> None:
    value, expected = DOCKER[field]
    assert expected in squeezed(text_with(**CONTAINERS["docker"], docker={field: value}))


@pytest.mark.parametrize("field", sorted(KUBERNETES))
def test_kubernetes_has_every_field(text_with: TextWith, field: str) -> None:
    value, expected = KUBERNETES[field]
    assert expected in squeezed(text_with(**CONTAINERS["kubernetes"], kubernetes={field: value}))


@pytest.mark.parametrize("field", sorted(RESOURCES))
def test_pods_ask_for_resources(text_with: TextWith, field: str) -> None:
    value, expected = RESOURCES[field]
    assert expected in squeezed(text_with(**CONTAINERS["kubernetes"], resources={field: value}))


@pytest.mark.parametrize("field", sorted(VOLUME))
def test_pods_see_volumes(text_with: TextWith, field: str) -> None:
    value, expected = VOLUME[field]
    volume = {"mount_path": "/runs", field: value}
    if not {"claim", "host_path", "config_map", "secret"} & volume.keys():
        volume["claim"] = "runs"
    assert expected in squeezed(text_with(**CONTAINERS["kubernetes"], volumes=[volume]))


def test_docker_bounds_what_a_container_takes(text_with: TextWith) -> None:
    resources = {"cpu_limit": "1500m", "memory_limit": "4Gi", "gpus": 1}
    text = squeezed(text_with(**CONTAINERS["docker"], resources=resources))
    assert '"cpus": 1.5' in text
    assert f'"mem_limit": {4 * 2**30}' in text
    assert 'DeviceRequest(count=1, capabilities=[["gpu"]])' in text
    plain = squeezed(text_with(**CONTAINERS["docker"], resources={"memory": "2k"}))
    assert '"mem_limit": 2000' in plain
    assert "DeviceRequest" not in plain


def test_a_process_runs_the_assay_that_compiled_it(text_with: TextWith) -> None:
    assert assigned(text_with(), "ASSAY") == [str(Path(sys.executable).with_name("assay"))]
    assert assigned(text_with(**CONTAINERS["docker"]), "ASSAY") == ["assay"]


def test_run_retries_hold_unless_airflow_has_its_own(text_with: TextWith) -> None:
    assert '"retries": 5' in text_with(extra="  retries: 5\n")
    assert '"retries": 1' in text_with(extra="  retries: 5\n", retries=1)


def test_exit_codes_are_those_of_the_command_line(text_with: TextWith) -> None:
    assert assigned(text_with(), "SKIPPED") == SKIPPED_EXIT_CODE == 99
    final = assigned(text_with(), "FINAL")
    assert final == (2, 3, 4, 5, 7)
    assert Transient.exit_code not in final


PASSWORD = "a-password-of-a-test"
METADATA = """\
  metadata: {backend: postgresql, host: db, user: assay, password_env: MLMD_WORD}
"""


@pytest.mark.parametrize("way", WAYS)
def test_no_secret_is_written(
    compile_with: CompileWith, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLMD_WORD", PASSWORD)
    for path in write_dag(compile_with(extra=METADATA, **CONTAINERS[way]), tmp_path / "dags"):
        assert PASSWORD not in path.read_text()
    dag = (tmp_path / "dags" / "doubles.py").read_text()
    assert ('SECRETS = ["MLMD_WORD"]' in dag) == (way == "docker")


HOSTILE = 'quotes " \' """, braces {{ }} {% raw %}, a \\ and\na line\u2028break ☃'


def test_text_of_the_config_stays_text(text_with: TextWith) -> None:
    text = text_with(description=HOSTILE, owner=HOSTILE, tags=[HOSTILE], env={"K": HOSTILE})
    assert assigned(text, "ENV") == {"K": HOSTILE}
    [dag] = [s for s in ast.parse(text).body if isinstance(s, ast.With)]
    call = dag.items[0].context_expr
    assert isinstance(call, ast.Call)
    arguments = {keyword.arg: keyword.value for keyword in call.keywords}
    assert ast.literal_eval(arguments["description"]) == HOSTILE
    assert ast.literal_eval(arguments["tags"]) == [HOSTILE]


def test_run_ids_become_names_of_folders(text_with: TextWith) -> None:
    body = ast.parse(text_with()).body
    names: dict[str, Any] = {}
    for statement in body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "path_safe":
            exec(f"import re, zlib\n{ast.unparse(statement)}", names)
    safe = names["path_safe"]
    assert safe("plain-run_1") == "plain-run_1"
    scheduled = safe("scheduled__2026-01-01T00:00:00+00:00")
    assert scheduled.startswith("scheduled__2026-01-01T00-00-00-00-00-")
    assert scheduled == safe("scheduled__2026-01-01T00:00:00+00:00")
    for run_id in ("..", "a/b", "a b", "~x", "ä"):
        assert not set(safe(run_id)) & set("/. ~ä")
    assert len({safe("a:b"), safe("a+b"), safe("a.b"), safe("a-b")}) == 4


def test_a_node_that_is_not_there_is_refused(compile_with: CompileWith, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such node: Jion") as caught:
        write_dag(compile_with(nodes={"Jion": {"retries": 1}}), tmp_path / "dags")
    assert "Did you mean Join?" in caught.value.hint
    assert not (tmp_path / "dags").exists()


def test_a_node_that_airflow_could_not_name_is_refused(
    compile_with: CompileWith, tmp_path: Path
) -> None:
    compiled = compile_with()
    compiled.ir.nodes[0].pipeline_node.node_info.id = "two words"
    with pytest.raises(ConfigError, match="two words"):
        write_dag(compiled, tmp_path)


@pytest.mark.parametrize(
    ("airflow", "message"),
    [
        ({"timeout_minutes": 1, "timeout_seconds": 1}, "not both"),
        ({"nodes": {"B": {"timeout_minutes": 1, "timeout_seconds": 1}}}, "not both"),
        ({"timezone": "Mars/Base"}, "no such time zone"),
        ({"run_in": "docker"}, "needs an image"),
        ({"run_in": "kubernetes", "image": "x"}, "absolute path"),
        (
            {**CONTAINERS["docker"], "volumes": [{"claim": "c", "mount_path": "/"}]},
            "host_path only",
        ),
        ({"volumes": [{"mount_path": "/"}]}, "name one of"),
        ({"kubernetes": {"secret_env": {"PW": "no-key"}}}, "secret-name/key"),
        ({"resources": {"memory": "4 GB"}}, "memory"),
        ({"log_url": "file.log"}, "log_url"),
        ({"dag_id": "a b"}, "dag_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused_when_the_config_is_read(
    compile_with: CompileWith, airflow: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        compile_with(**airflow)


def test_containers_may_have_the_project_elsewhere(compile_with: CompileWith) -> None:
    config = compile_with(**CONTAINERS["docker"], project_dir="/project").config
    assert deployed(config).root == Path("/project/runs")
    assert deployed(compile_with(project_dir="/project").config).root == config.folder / "runs"


@pytest.mark.parametrize("way", ["process", "docker"])
def test_data_on_a_volume_need_not_be_where_the_pipeline_is_compiled(
    compile_with: CompileWith, way: str
) -> None:
    with pytest.raises(ConfigError, match="no threshold") as caught:
        checked(compile_with(**CONTAINERS[way]).config)
    assert ("data.csv: the file does not exist" in str(caught.value)) == (way == "process")


def test_pods_need_a_metadata_server_and_its_password(compile_with: CompileWith) -> None:
    pods = CONTAINERS["kubernetes"]
    with pytest.raises(ConfigError, match="cannot share"):
        deployed(compile_with(**pods).config)
    with pytest.raises(ConfigError, match="no password") as caught:
        deployed(compile_with(extra=METADATA, **pods).config)
    assert "MLMD_WORD: SECRET-NAME/KEY" in caught.value.hint
    secret = {"secret_env": {"MLMD_WORD": "mlmd/password"}}
    given = compile_with(extra=METADATA, kubernetes=secret, project_dir="/ml/project", **pods)
    assert deployed(given.config).root == Path("/ml/project/runs")


def test_a_start_date_needs_no_quotes(tmp_path: Path) -> None:
    config = make_config(tmp_path, "  airflow: {start_date: 2024-02-03}\n")
    assert config.run.airflow.start_date == date(2024, 2, 3)
