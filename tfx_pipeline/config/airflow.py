"""The `run.airflow` section: what `assay compile --to airflow` writes into the DAG file."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, field_validator, model_validator

from transform.config import FieldError, Section

Params = dict[str, str | int | float | bool | None]


_CPU = r"^([0-9]+(\.[0-9]+)?m?)?$"
_MEMORY = r"^([0-9]+(\.[0-9]+)?([KMGT]i|[kMGT])?)?$"


class AirflowResources(Section):
    """What the container of a node asks for, as Kubernetes writes it."""

    cpu: str = Field("", pattern=_CPU, description="CPUs to reserve: `2`, `500m`.")
    memory: str = Field("", pattern=_MEMORY, description="Memory to reserve: `4Gi`.")
    cpu_limit: str = Field("", pattern=_CPU, description="Most CPUs. Docker has this bound only.")
    memory_limit: str = Field(
        "", pattern=_MEMORY, description="Most memory; past it the container is killed."
    )
    gpus: int = Field(0, ge=0, le=64, description="NVIDIA GPUs (`nvidia.com/gpu`).")

    @field_validator("cpu", "cpu_limit", "memory", "memory_limit", mode="before")
    @classmethod
    def _numbers_are_text(cls, value: object) -> object:
        return str(value) if isinstance(value, (int, float)) else value


class AirflowVolume(Section):
    """A place that the containers see. One of `claim`, `host_path`, `config_map`, `secret`."""

    claim: str = Field("", description="Kubernetes: a PersistentVolumeClaim's name.")
    host_path: str = Field("", description="A path on the machine that runs the container.")
    config_map: str = Field("", description="Kubernetes: a ConfigMap's name.")
    secret: str = Field("", description="Kubernetes: a Secret's name.")
    mount_path: str = Field(pattern=r"^/", description="Where the container sees it.")
    sub_path: str = Field("", description="Kubernetes: the part of the volume to mount.")
    read_only: bool = Field(False, description="Whether the container may only read it.")

    @model_validator(mode="after")
    def _one_source(self) -> AirflowVolume:
        if sum(map(bool, (self.claim, self.host_path, self.config_map, self.secret))) != 1:
            raise ValueError("name one of claim, host_path, config_map and secret")
        return self


class AirflowDocker(Section):
    """Nodes as Docker containers on the worker's machine (`DockerOperator`)."""

    docker_url: str = Field("", description="The daemon's; empty: as Airflow finds it.")
    docker_conn_id: str = Field("", description="Airflow connection for a private registry.")
    network_mode: str = Field("", description="The containers' network; empty: Docker's default.")
    user: str = Field("", description="User in the container, as `1000` or `1000:1000`.")
    force_pull: bool = Field(False, description="Pull the image before each task.")


class AirflowKubernetes(Section):
    """Nodes as Kubernetes pods (`KubernetesPodOperator`)."""

    namespace: str = Field("", description="The pods' namespace; empty: the connection's.")
    kubernetes_conn_id: str = Field(
        "kubernetes_default", description="Airflow connection to the cluster."
    )
    in_cluster: bool | None = Field(
        None, description="Whether Airflow itself runs in the cluster; empty: it finds out."
    )
    service_account_name: str = Field("", description="The pods' service account.")
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = Field(
        "", description="Empty: Kubernetes' default."
    )
    image_pull_secrets: list[str] = Field([], description="Names of Secrets for the registry.")
    node_selector: dict[str, str] = Field({}, description="Labels that the machines must have.")
    labels: dict[str, str] = Field({}, description="The pods' labels.")
    annotations: dict[str, str] = Field({}, description="The pods' annotations.")
    startup_timeout_seconds: int = Field(
        600, ge=1, description="Bound on a pod's start; pulling a large image is part of it."
    )
    secret_env: dict[str, str] = Field(
        {},
        description="Environment variables from Secrets: variable to `secret-name/key`. The "
        "metadata password is passed so.",
    )

    @field_validator("secret_env")
    @classmethod
    def _secret_and_key(cls, value: dict[str, str]) -> dict[str, str]:
        for name, place in value.items():
            secret, _, key = place.partition("/")
            if not (secret and key):
                raise FieldError("expected `secret-name/key`", name)
        return value


class AirflowNode(Section):
    """What is different for one node. What is left out is as for the others."""

    retries: int | None = Field(None, ge=0, le=100, description="Tries after a failed one.")
    timeout_minutes: float | None = Field(None, gt=0, description="`execution_timeout`.")
    timeout_seconds: float | None = Field(None, gt=0, description="The same, in seconds.")
    pool: str | None = Field(None, description="Airflow pool.")
    pool_slots: int | None = Field(None, ge=1, description="Slots of the pool that it takes.")
    queue: str | None = Field(None, description="Celery queue.")
    priority_weight: int | None = Field(None, description="Higher goes first.")
    env: dict[str, str] = Field({}, description="More environment variables.")
    command: list[str] = Field([], description="Another `assay` for this node.")
    image: str = Field("", description="Another image for this node.")
    resources: AirflowResources | None = Field(None, description="Other resources.")
    node_selector: dict[str, str] = Field({}, description="Kubernetes: more labels of machines.")

    @model_validator(mode="after")
    def _one_timeout(self) -> AirflowNode:
        _refuse_two_timeouts(self.timeout_minutes, self.timeout_seconds)
        return self


class AirflowConfig(Section):
    """The DAG that `assay compile --to airflow` writes. Names are Airflow's own where it has
    one."""

    dag_id: str = Field(
        "", pattern=r"^[A-Za-z0-9_.-]{0,250}$", description="Empty: the pipeline's name."
    )
    description: str = Field("", description="Shown beside the DAG's name.")
    schedule: str | None = Field(
        None, description="Cron expression or `@daily`; none: runs are started by hand."
    )
    start_date: date = Field(
        date(2025, 1, 1), description="First day of the schedule. With `catchup` runs start there."
    )
    timezone: str = Field("UTC", description="Of schedule and start date: `Europe/Berlin`.")
    catchup: bool = Field(False, description="Run what the schedule has missed.")
    max_active_runs: int = Field(1, ge=1, description="Runs of the DAG at once.")
    max_active_tasks: int | None = Field(
        None, ge=1, description="Nodes at once, over all runs; empty: Airflow's setting."
    )
    dagrun_timeout_minutes: float | None = Field(None, gt=0, description="Bound on a whole run.")
    is_paused_upon_creation: bool | None = Field(
        None, description="Whether a new DAG waits to be switched on; empty: Airflow's setting."
    )
    tags: list[str] = Field(["assay"], description="The DAG's labels in the list of DAGs.")
    owner: str = Field("assay", description="The tasks' owner.")
    params: Params = Field(
        {},
        description="Airflow params with their defaults, asked for when a run is started by hand. "
        "`env` hands them on: `env: {ROWS: '{{ params.rows }}'}`.",
    )
    env: dict[str, str] = Field(
        {},
        description="Environment variables of the nodes, as Airflow templates (`{{ ds }}`). They "
        "stand in the DAG file: no secrets. A cached node does not notice that one has changed.",
    )
    retries: int | None = Field(
        None, ge=0, le=100, description="Tries after a failed one; empty: as `run.retries`."
    )
    retry_delay_seconds: float = Field(60, ge=0, description="Wait before another try.")
    timeout_minutes: float | None = Field(
        None, gt=0, description="`execution_timeout` of each try of a node; empty: none."
    )
    timeout_seconds: float | None = Field(None, gt=0, description="The same, in seconds.")
    pool: str = Field("default_pool", description="Airflow pool of the nodes.")
    queue: str = Field("", description="Celery queue of the nodes; empty: Airflow's default.")
    log_url: str = Field(
        "",
        pattern=r"^(https?://.+)?$",
        description="Where a browser finds a node's log: "
        "`https://files.example/runs/{run_id}/logs/{node}.log`. Empty: only its path is shown.",
    )
    run_in: Literal["process", "docker", "kubernetes"] = Field(
        "process", description="How a node runs: as a process of the worker, or in a container."
    )
    command: list[str] = Field(
        [],
        description="`assay` where the nodes run; empty: the path of this one, in containers "
        "`assay`.",
    )
    image: str = Field("", description="Docker, Kubernetes: image that has Assay.")
    ir_path: str = Field(
        "",
        description="Where the nodes find `<name>.ir.json`. Empty: beside the DAG file. Kubernetes "
        "needs it: a path on a volume or in the image.",
    )
    project_dir: str = Field(
        "",
        pattern=r"^(/.*)?$",
        description="Docker, Kubernetes: where the nodes find the config file's folder, from which "
        "its relative paths start. Empty: at the same path as here.",
    )
    volumes: list[AirflowVolume] = Field(
        [], description="What the containers see; `run.root` and the data must be among it."
    )
    resources: AirflowResources = Field(
        AirflowResources(), description="What a node's container asks for."
    )
    docker: AirflowDocker = Field(AirflowDocker(), description="With `run_in: docker`.")
    kubernetes: AirflowKubernetes = Field(
        AirflowKubernetes(), description="With `run_in: kubernetes`."
    )
    nodes: dict[str, AirflowNode] = Field({}, description="What is different, by node's id.")

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        import zoneinfo

        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"no such time zone: {value}") from error
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> AirflowConfig:
        _refuse_two_timeouts(self.timeout_minutes, self.timeout_seconds)
        if self.run_in == "process":
            return self
        if not self.image:
            raise FieldError(f"run_in: {self.run_in} needs an image", "image")
        if self.run_in == "kubernetes" and not self.ir_path.startswith("/"):
            raise FieldError(
                "run_in: kubernetes needs the IR's absolute path in the pod", "ir_path"
            )
        if self.run_in == "docker":
            for number, volume in enumerate(self.volumes):
                if not volume.host_path:
                    raise FieldError("Docker mounts host_path only", "volumes", number)
        return self


def _refuse_two_timeouts(minutes: float | None, seconds: float | None) -> None:
    if minutes is not None and seconds is not None:
        raise ValueError("give timeout_minutes or timeout_seconds, not both")
