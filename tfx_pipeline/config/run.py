"""The `run` and `serve` sections: how the pipeline is run, where things go, what is asked."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from tfx_pipeline.config.airflow import AirflowConfig
from tfx_pipeline.config.beam import BeamConfig
from tfx_pipeline.config.vertex import VertexConfig
from transform.config import Section


class MetadataConfig(Section):
    """Where ML Metadata (MLMD) keeps the lineage."""

    backend: Literal["sqlite", "mysql", "postgresql"] = Field(
        "sqlite", description="SQLite: a file in `run.root`. MySQL, PostgreSQL: a server."
    )
    host: str = Field("localhost", description="Server's host name.")
    port: int | None = Field(None, ge=1, le=65535, description="Server's port; empty: usual one.")
    database: str = Field("mlmd", description="Database's name; it must exist.")
    user: str = Field("", description="User's name.")
    password_env: str = Field(
        "ASSAY_METADATA_PASSWORD", description="Environment variable that holds the password."
    )


class RunConfig(Section):
    """How the pipeline is run and where its files go."""

    root: str = Field(
        "runs", description="Folder for artifacts, metadata and run reports. Relative to this file."
    )
    cache: bool = Field(True, description="Reuse a node's result when nothing it reads changed.")
    retries: int = Field(
        2, ge=0, le=10, description="More tries for a node whose error can pass by itself."
    )
    retry_wait_seconds: float = Field(
        1.0, ge=0, description="Wait before the first retry; doubled for each one after it."
    )
    max_parallel_nodes: int = Field(
        2, ge=1, le=32, description="Nodes at once, where they do not depend on each other."
    )
    memory_per_node_mb: int = Field(
        2000, ge=1, description="Free memory a further node needs before it starts, in MB."
    )
    metadata: MetadataConfig = Field(MetadataConfig(), description="Where lineage is kept.")
    beam: BeamConfig = Field(BeamConfig(), description="Beam options.")
    vertex: VertexConfig = Field(
        VertexConfig(), description="Vertex AI Pipelines, for `assay compile` and `assay submit`."
    )
    airflow: AirflowConfig = Field(
        AirflowConfig(), description="The DAG that `assay compile --to airflow` writes."
    )

    @field_validator("root")
    @classmethod
    def _a_path(cls, value: str) -> str:
        if "://" in value:
            raise ValueError(
                f"{value} is an address; expected a folder's path. Mount the bucket, and give the "
                "path that it has then (`/gcs/BUCKET/runs` on Vertex)"
            )
        return value


class ServeConfig(Section):
    """The pushed model's name and place."""

    model_name: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.-]*$",
        description="Name that clients ask for; empty: pipeline's.",
    )
    push_dir: str = Field(
        "", description="model_base_path of TensorFlow Serving; empty: <run.root>/serving/<model>."
    )
    sample_rows: int = Field(
        5, ge=0, le=1000, description="Rows of the eval split that `assay demo` asks for."
    )
    ready_timeout_seconds: float = Field(60, gt=0, description="Bound on the server's start.")
    address: str = Field(
        "",
        pattern=r"^([^\s:/]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$|^$",
        description="host:port (gRPC) of the server that reads `push_dir`. After a push it is "
        "asked for the new version; if that fails, the push is taken back. Empty: nobody is asked.",
    )
    probe_timeout_seconds: float = Field(
        60, gt=0, description="Bound on the wait for the new version at `address`."
    )

    @model_validator(mode="after")
    def _name_is_no_path(self) -> ServeConfig:
        if self.model_name in (".", ".."):
            raise ValueError("model_name is a name, not a path")
        return self
