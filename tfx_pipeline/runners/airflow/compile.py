"""`write_dag`: the DAG file of a compiled pipeline, for Airflow 3 and 2.11."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from tfx_pipeline.config.airflow import AirflowConfig, AirflowNode
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import (
    SKIPPED_EXIT_CODE,
    ConfigError,
    DataError,
    EnvironmentMismatch,
    GateRefused,
)
from tfx_pipeline.files import write_text
from tfx_pipeline.lint import OF_THE_DATA, lint
from tfx_pipeline.runners import compiled as compiled_lib
from tfx_pipeline.runners import names
from tfx_pipeline.runners.airflow import containers
from tfx_pipeline.runners.airflow.python_text import Call, python_text
from tfx_pipeline.runners.compiled import Compiled

_USAGE_EXIT_CODE = 2
# Exit codes that are the same however often a node is tried.
FINAL_EXIT_CODES = sorted(
    {_USAGE_EXIT_CODE, *(e.exit_code for e in (ConfigError, DataError, GateRefused)),
     EnvironmentMismatch.exit_code}
)  # fmt: skip
_WHERE = {
    "process": "in the toolkit's own environment",
    "docker": "in a container",
    "kubernetes": "in a pod",
}
_TASK_ID = re.compile(r"[\w.-]{1,250}", re.ASCII)


def write_dag(compiled: Compiled, out: Path) -> list[Path]:
    """Writes `<name>.py`, the DAG, and `<name>.ir.json`, which its tasks hand to `assay run-node`.

    Args:
        compiled: The pipeline; its config's `run.airflow` says how it is scheduled and run.
        out: The folder; usually Airflow's `dags` or one in git that is synchronized to it.

    Returns:
        The two files, the DAG first.

    Raises:
        ConfigError: `run.airflow.nodes` names a node that is not there, or a node's id cannot be
            a task's.
        StorageError: The folder cannot be written.
    """
    name = compiled.config.name
    dag, ir = out / f"{name}.py", out / f"{name}.ir.json"
    text = dag_text(compiled)
    compiled_lib.write(compiled, ir)
    write_text(dag, text)
    return [dag, ir]


def deployed(config: PipelineConfig) -> PipelineConfig:
    """The config as the nodes have it. Compile this one: relative paths then are theirs.

    Raises:
        ConfigError: Pods would have to share a file that they cannot, or lack the password.
    """
    airflow, metadata = config.run.airflow, config.run.metadata
    if airflow.run_in == "kubernetes" and metadata.backend == "sqlite":
        raise ConfigError(
            "run.metadata.backend is sqlite, a file that pods on several machines cannot share",
            where=config.place("run.metadata.backend"),
            hint="Set it to postgresql or mysql.",
        )
    secrets = airflow.kubernetes.secret_env
    if airflow.run_in == "kubernetes" and metadata.user and metadata.password_env not in secrets:
        raise ConfigError(
            "the pods would have no password for the metadata server",
            where=config.place("run.airflow.kubernetes.secret_env"),
            hint=f"Add {metadata.password_env}: SECRET-NAME/KEY to it.",
        )
    if airflow.run_in == "process" or not airflow.project_dir:
        return config
    return config.deployed_to(Path(airflow.project_dir))


def checked(config: PipelineConfig) -> PipelineConfig:
    """`deployed`, after every check of `assay check`; for containers but those that look at the
    data: they are on the volumes, and need not be here.

    Raises:
        ConfigError: The first problem, or all that `assay check` finds.
        DataError: The data are missing, or not what the config says they are.
    """
    found = deployed(config)
    lint(config, without=() if config.run.airflow.run_in == "process" else OF_THE_DATA)
    return found


def dag_text(compiled: Compiled) -> str:
    """The content of the DAG file. It is the same whenever the same pipeline is compiled.

    Raises:
        ConfigError: As `write_dag`.
    """
    config, airflow = compiled.config, compiled.config.run.airflow
    upstream = _upstream(compiled)
    names.check(airflow.nodes, list(upstream))
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # It is Python, and every value goes through `py`.
    )
    environment.filters["py"] = python_text
    return environment.get_template(airflow.run_in).render(
        name=config.name,
        where=_WHERE[airflow.run_in],
        ir_name=f"{config.name}.ir.json",
        ir_path=airflow.ir_path,
        command=_command(airflow),
        env=airflow.env,
        logs=str(config.root),
        log_url=airflow.log_url,
        upstream=upstream,
        defaults=_defaults(airflow, config.run.retries),
        settings={node: _settings(airflow, node) for node in airflow.nodes},
        dag=_dag_arguments(airflow, config.name),
        final_codes=tuple(FINAL_EXIT_CODES),
        skipped_code=SKIPPED_EXIT_CODE,
        container=containers.common(airflow),
        secrets=containers.secrets(config),
        uses_gpus=containers.uses_gpus(airflow),
    )


def _template(name: str) -> str:
    file = name if name.endswith(".j2") else f"{name}.py.j2"
    text = resources.files("tfx_pipeline.runners.airflow").joinpath(file)
    return text.read_text(encoding="utf-8")


def _upstream(compiled: Compiled) -> dict[str, list[str]]:
    """Who waits for whom; nodes in topological order."""
    specs = [node.pipeline_node for node in compiled.ir.nodes]
    upstream = {spec.node_info.id: sorted(spec.upstream_nodes) for spec in specs}
    for node in upstream:
        if not _TASK_ID.fullmatch(node):
            raise ConfigError(
                f"Airflow takes no task named {node!r}",
                hint="Give the component an id of letters, digits, `_`, `-` and `.` (`with_id`).",
            )
    return upstream


def _command(airflow: AirflowConfig) -> list[str]:
    """`assay` where the nodes run: in a process's case that of the Python that compiles."""
    if airflow.command:
        return airflow.command
    beside = Path(sys.executable).parent / "assay"
    return [str(beside)] if airflow.run_in == "process" else ["assay"]


def _dag_arguments(airflow: AirflowConfig, name: str) -> dict[str, Any]:
    """Arguments of `DAG`, under Airflow's names."""
    start = airflow.start_date
    arguments: dict[str, Any] = {
        "dag_id": airflow.dag_id or name,
        "description": airflow.description or f"The pipeline {name}",
        "schedule": airflow.schedule,
        "start_date": Call(
            "pendulum.datetime",
            {"year": start.year, "month": start.month, "day": start.day, "tz": airflow.timezone},
        ),
        "catchup": airflow.catchup,
        "max_active_runs": airflow.max_active_runs,
        "max_active_tasks": airflow.max_active_tasks,
        "dagrun_timeout": _minutes(airflow.dagrun_timeout_minutes),
        "is_paused_upon_creation": airflow.is_paused_upon_creation,
        "params": dict(airflow.params) or None,
        "tags": list(airflow.tags),
    }
    return {key: v for key, v in arguments.items() if v is not None or key == "schedule"}


def _defaults(airflow: AirflowConfig, retries: int) -> dict[str, Any]:
    """`default_args`: arguments of every task."""
    arguments: dict[str, Any] = {
        "owner": airflow.owner,
        "trigger_rule": "none_failed",
        "retries": retries if airflow.retries is None else airflow.retries,
        "retry_delay": timedelta(seconds=airflow.retry_delay_seconds),
        "execution_timeout": _timeout(airflow),
        "pool": airflow.pool,
        "queue": airflow.queue or None,
    }
    return {key: value for key, value in arguments.items() if value is not None}


def _settings(airflow: AirflowConfig, node: str) -> dict[str, Any]:
    """Arguments of one task, where they differ."""
    settings = airflow.nodes[node]
    command = {"process": "command", "docker": "entrypoint", "kubernetes": "cmds"}[airflow.run_in]
    arguments: dict[str, Any] = {
        "retries": settings.retries,
        "execution_timeout": _timeout(settings),
        "pool": settings.pool,
        "pool_slots": settings.pool_slots,
        "queue": settings.queue,
        "priority_weight": settings.priority_weight,
        "env": dict(settings.env) or None,
        command: list(settings.command) or None,
    }
    own = {key: value for key, value in arguments.items() if value is not None}
    return own | containers.own(airflow, settings)


def _timeout(settings: AirflowConfig | AirflowNode) -> timedelta | None:
    if settings.timeout_seconds is not None:
        return timedelta(seconds=settings.timeout_seconds)
    return _minutes(settings.timeout_minutes)


def _minutes(minutes: float | None) -> timedelta | None:
    return None if minutes is None else timedelta(minutes=minutes)
