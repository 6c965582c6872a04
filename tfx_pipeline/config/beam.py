"""The `run.beam` section: which engine runs the Beam jobs of the components that use Beam."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from transform.config import Section

_HOST_PORT = r"^([^\s:/]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$|^$"
_EMBEDDED = re.compile(r"^(\[local\]|\[auto\]|local(\[.+\])?)$")
_SPARK = re.compile(r"^(local(\[(\*|\d+)\])?|spark://[^\s/:]+:\d+(,[^\s/:]+:\d+)*)$")
_FLINK = re.compile(r"^(\[local\]|(https?://)?([^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):\d{1,5})$")

Runner = Literal["local", "flink", "spark", "dataflow", "auto"]
Engine = Literal["local", "flink", "spark", "dataflow"]


class EnvironmentConfig(Section):
    """Where the workers of Flink or Spark run our Python code (Beam's environment types)."""

    type: Literal["loopback", "external", "process", "docker"] = Field(
        "loopback",
        description="`loopback`: in the process that submits the job, for a cluster on this "
        "machine. `external`: in a pool of workers that already runs. `process`: in processes "
        "that each worker of the cluster starts. `docker`: in containers that it starts.",
    )
    address: str = Field(
        "", pattern=_HOST_PORT, description="host:port of the worker pool (`external`)."
    )
    command: str = Field("", description="Program that starts a Python worker (`process`).")
    variables: dict[str, str] = Field({}, description="Environment of that program (`process`).")
    image: str = Field("", description="Image with Beam and Assay in it (`docker`).")
    workers: int = Field(
        1, ge=1, le=256, description="Python workers for each worker of the cluster."
    )

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> EnvironmentConfig:
        needs = {"external": "address", "process": "command", "docker": "image"}
        for kind, name in needs.items():
            if self.type == kind and not getattr(self, name):
                raise ValueError(f"type: {kind} needs `{name}`")
            if self.type != kind and getattr(self, name):
                raise ValueError(f"`{name}` is for type: {kind}, and the type is {self.type}")
        if self.variables and self.type != "process":
            raise ValueError(f"`variables` are for type: process, and the type is {self.type}")
        return self


class JobServerConfig(Section):
    """Beam's job server: the Java program that turns a Beam job into one of Flink or Spark."""

    endpoint: str = Field(
        "",
        pattern=_HOST_PORT,
        description="host:port of one that already runs. Empty: each process that runs a Beam "
        "node starts one when it first needs it.",
    )
    artifact_endpoint: str = Field(
        "",
        pattern=_HOST_PORT,
        description="host:port where that one takes files; empty: where it says.",
    )
    jar: str = Field("", description="Its jar; empty: the one that `assay doctor --beam` fetched.")
    java: str = Field("java", min_length=1, description="The Java program that runs it.")
    artifacts_dir: str = Field(
        "",
        description="Folder for staged files. Workers of a remote cluster must be able to read "
        "it: a shared folder, hdfs:// or gs://. Empty: a temporary one.",
    )
    job_port: int = Field(0, ge=0, le=65535, description="Its port for jobs; 0: a free one.")
    artifact_port: int = Field(0, ge=0, le=65535, description="Its port for files; 0: a free one.")


class DataflowConfig(Section):
    """Google Cloud Dataflow."""

    project: str = Field("", description="Google Cloud project.")
    region: str = Field("", description="Region, for instance europe-west1.")
    temp_location: str = Field("", pattern=r"^(gs://.+)?$", description="gs:// folder for files.")
    staging_location: str = Field(
        "", pattern=r"^(gs://.+)?$", description="gs:// folder for code; empty: temp_location."
    )
    service_account: str = Field("", description="Workers' account; empty: the project's.")
    machine_type: str = Field("", description="Workers' machine; empty: Dataflow's choice.")
    max_workers: int | None = Field(None, ge=1, description="Bound on autoscaling.")


class BeamConfig(Section):
    """How Beam runs the components that use it."""

    runner: Runner = Field(
        "local",
        description="`local`: on this machine, rows streamed. `flink`, `spark`: through Beam's job "
        "server. `dataflow`: Google Cloud. `auto`: `local` while the data fit into memory, else "
        "the engine that `master` or `dataflow` names, and it says which; where they name none, "
        "`local` with a warning, or an error if the data surely do not fit.",
    )
    master: str = Field(
        "",
        description="The cluster. Flink: `[local]` (inside the job server) or host:8081. Spark: "
        "`local[2]` or spark://host:7077. Empty: inside the job server.",
    )
    version: str = Field(
        "",
        pattern=r"^(\d+\.\d+)?$",
        description="Flink's minor version, which must be the cluster's; empty: 1.20.",
    )
    parallelism: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Tasks at once; empty: the cluster's default. `local`: processes that read "
        "rows; empty: one a core where there is much to read, as far as memory goes.",
    )
    memory_mb: int | None = Field(
        None,
        ge=256,
        description="Inside the job server: its heap, in MB. Spark cluster: each executor's "
        "memory. A Flink cluster's memory is set on the cluster.",
    )
    environment: EnvironmentConfig = Field(
        EnvironmentConfig(), description="Where the Python code runs."
    )
    job_server: JobServerConfig = Field(JobServerConfig(), description="Beam's job server.")
    dataflow: DataflowConfig = Field(DataflowConfig(), description="Dataflow's own options.")
    setup_file: str = Field(
        "",
        description="setup.py of the code that remote workers install before they start. "
        "Relative to this file.",
    )
    sdk_image: str = Field(
        "", description="Dataflow's worker image, with Beam, TFX and Assay in it."
    )
    args: list[str] = Field([], description="More Beam pipeline options, as on its command line.")

    @property
    def engine(self) -> Engine | None:
        """The runner; of `auto`, the one that it may leave this process for (None: none)."""
        if self.runner != "auto":
            return self.runner
        if self.dataflow != DataflowConfig():
            return "dataflow"
        if not self.master:
            return None
        return "spark" if _SPARK.match(self.master) else "flink"

    @property
    def embedded(self) -> bool:
        """Whether Flink or Spark runs inside the job server, on this machine."""
        return self.engine in ("flink", "spark") and bool(
            not self.master or _EMBEDDED.match(self.master)
        )

    @property
    def flink_version(self) -> str:
        """The Flink minor version asked for."""
        return self.version or DEFAULT_FLINK

    @model_validator(mode="after")
    def _fits_the_runner(self) -> BeamConfig:
        engine = self.engine
        if engine == "flink" and self.master and not _FLINK.match(self.master):
            raise ValueError(f"master {self.master!r} is no Flink: give `[local]` or host:8081")
        if engine == "spark" and self.master and not _SPARK.match(self.master):
            raise ValueError(
                f"master {self.master!r} is no Spark: give `local[2]` or spark://host:7077"
            )
        portable = engine in ("flink", "spark")
        _only(portable, self, "master", "environment", "job_server", "memory_mb")
        _only(portable or engine == "local", self, "parallelism")
        _only(engine == "flink", self, "version")
        _only(engine == "dataflow", self, "dataflow", "sdk_image")
        _only(engine not in ("local", None), self, "setup_file")
        if engine == "dataflow":
            missing = [
                name
                for name in ("project", "region", "temp_location")
                if not getattr(self.dataflow, name)
            ]
            if missing:
                raise ValueError("dataflow needs " + ", ".join(f"dataflow.{n}" for n in missing))
        return self


DEFAULT_FLINK = "1.20"


def _only(allowed: bool, config: BeamConfig, *names: str) -> None:
    """Refuses fields that the runner would silently ignore."""
    if allowed:
        return
    for name in names:
        if getattr(config, name) != BeamConfig.model_fields[name].default:
            runner = f"runner: {config.runner}"
            if config.runner == "auto":
                runner += f" and {config.engine or 'no `master`'}"
            raise ValueError(f"`{name}` has no meaning with {runner}")
