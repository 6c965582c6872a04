"""The `run.vertex` section: what `assay compile --to vertex` and `assay submit` make of a run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from transform.config import FieldError, Section

# What Google's API takes as a label's key and value.
_LABEL_KEY = r"[a-z][a-z0-9_-]{0,62}"
_LABEL_VALUE = r"[a-z0-9_-]{0,63}"


class VertexNode(Section):
    """The machine of one node. What is left out is Vertex's default (e2-standard-4).

    With CPUs, memory and one kind of accelerator Vertex picks a machine. A machine type, several
    replicas, a disk, a TPU topology or spot machines make a custom job of the node.
    """

    cpu: float | None = Field(None, gt=0, description="CPUs (vCPU).")
    memory_gb: float | None = Field(None, gt=0, description="Memory, in GB.")
    machine_type: str = Field("", description="Compute Engine's name: `n1-highmem-8`.")
    accelerator_type: str = Field(
        "",
        pattern=r"^[A-Z0-9_]*$",
        description="Vertex's name: `NVIDIA_TESLA_T4`, `NVIDIA_L4`. For a TPU name the machine.",
    )
    accelerator_count: int = Field(1, ge=1, le=16, description="Accelerators in each machine.")
    tpu_topology: str = Field(
        "", pattern=r"^(\d+x\d+(x\d+)?)?$", description="Of a TPU machine: `2x2`, `2x2x1`."
    )
    replica_count: int = Field(
        1,
        ge=1,
        le=1000,
        description="Machines of the Trainer, with `train.strategy: multi_worker`: the first is "
        "the chief.",
    )
    boot_disk_type: Literal["", "pd-ssd", "pd-standard", "hyperdisk-balanced"] = Field(
        "", description="Kind of boot disk; empty: Vertex's default."
    )
    boot_disk_gb: int | None = Field(
        None, ge=100, description="Size of the boot disk, in GB; empty: 100."
    )
    spot: bool = Field(
        False, description="Spot machines: cheaper, may be taken away. Give the node retries."
    )
    timeout_hours: float | None = Field(
        None, gt=0, description="Bound on a custom job's time; empty: Vertex's (7 days)."
    )
    image: str = Field("", description="Another image for this node, for instance with CUDA.")
    env: dict[str, str] = Field({}, description="More environment variables. No secrets.")
    retries: int | None = Field(None, ge=0, le=10, description="Instead of `run.vertex.retries`.")

    @model_validator(mode="after")
    def _one_way_to_ask(self) -> VertexNode:
        if self.machine_type and (self.cpu or self.memory_gb):
            raise FieldError("machine_type says it all: leave out cpu and memory_gb", "cpu")
        if self.tpu_topology and not self.machine_type:
            raise FieldError("a TPU needs its machine_type, as `ct5lp-hightpu-4t`", "tpu_topology")
        if self.is_custom_job and not self.machine_type:
            raise FieldError(
                "replica_count, boot disk, spot and timeout_hours need a machine_type",
                "machine_type",
            )
        return self

    @property
    def is_custom_job(self) -> bool:
        """Whether a container's resources cannot say it."""
        asked = (self.machine_type, self.tpu_topology, self.boot_disk_type, self.boot_disk_gb)
        return any(asked) or self.spot or self.timeout_hours is not None or self.replica_count > 1


class KubeflowConfig(Section):
    """Kubeflow Pipelines instead of Vertex: where its pods find files and the password."""

    volume_claim: str = Field(description="PersistentVolumeClaim (ReadWriteMany) for all nodes.")
    mount_path: str = Field(
        "/data", pattern=r"^/.+", description="Where pods see it. `run.root` and data lie below."
    )
    password_secret: str = Field(
        "",
        pattern=r"^([^/\s]+/[^/\s]+)?$",
        description="`secret-name/key` of the Secret that holds the metadata server's password.",
    )


class VertexConfig(Section):
    """Vertex AI Pipelines (and Kubeflow Pipelines v2, with `kubeflow`)."""

    project: str = Field("", description="Google Cloud project's id.")
    region: str = Field("us-central1", pattern=r"^[a-z0-9-]+$", description="Vertex's region.")
    image: str = Field(
        "", description="Image that nodes run in (`assay image`), in a registry Vertex can read."
    )
    project_dir: str = Field(
        "/pipeline",
        pattern=r"^/.+",
        description="Where the image has the folder of pipeline.yaml, with your own code.",
    )
    staging: str = Field(
        "",
        pattern=r"^(gs://.+)?$",
        description="gs:// folder for the compiled pipeline and Vertex's own files.",
    )
    service_account: str = Field(
        "", description="E-mail of the account that nodes run as; empty: Compute Engine's default."
    )
    labels: dict[str, str] = Field({}, description="Labels of the job, for costs and search.")
    encryption_key: str = Field(
        "",
        pattern=r"^(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+)?$",
        description="Cloud KMS key (CMEK) for the job and all it makes: projects/P/locations/L/"
        "keyRings/R/cryptoKeys/K.",
    )
    network: str = Field(
        "",
        pattern=r"^(projects/\d+/global/networks/[^/]+)?$",
        description="Peered VPC network: projects/NUMBER/global/networks/NAME.",
    )
    reserved_ip_ranges: list[str] = Field([], description="Names of ranges in `network`.")
    network_attachment: str = Field(
        "", description="Private Service Connect interface, instead of `network`."
    )
    password_secret: str = Field(
        "",
        pattern=r"^(projects/[^/]+/secrets/[^/]+/versions/[^/]+)?$",
        description="Secret Manager's name of the metadata server's password: projects/P/secrets/"
        "S/versions/latest. Each node reads it when it starts.",
    )
    env: dict[str, str] = Field({}, description="Environment variables of all nodes. No secrets.")
    retries: int = Field(
        1, ge=0, le=10, description="More tries for a node that failed, whatever the reason."
    )
    retry_wait_seconds: float = Field(
        60, ge=0, description="Wait before the first retry; doubled for each one after it."
    )
    fail_fast: bool = Field(
        False, description="Start no further node once one has failed; else independent ones end."
    )
    worker_wait_seconds: float = Field(
        1800, gt=0, description="How long the Trainer's other replicas wait for the chief's start."
    )
    nodes: dict[str, VertexNode] = Field({}, description="Machines, by node's id.")
    kubeflow: KubeflowConfig | None = Field(
        None, description="Compile for Kubeflow Pipelines, not for Vertex."
    )
    endpoint: str = Field(
        "",
        description="host:port of Vertex's API, for Private Service Connect; empty: the region's.",
    )

    @field_validator("labels")
    @classmethod
    def _labels_are_googles(cls, value: dict[str, str]) -> dict[str, str]:
        import re

        for key, text in value.items():
            if not re.fullmatch(_LABEL_KEY, key) or not re.fullmatch(_LABEL_VALUE, text):
                raise FieldError(
                    "a label is lowercase letters, digits, - and _, at most 63 of them", key
                )
        return value

    @model_validator(mode="after")
    def _one_network(self) -> VertexConfig:
        if self.network and self.network_attachment:
            raise FieldError("give network or network_attachment, not both", "network_attachment")
        if self.reserved_ip_ranges and not self.network:
            raise FieldError("reserved_ip_ranges belong to a network", "reserved_ip_ranges")
        for name, node in self.nodes.items():
            if node.replica_count > 1 and name != "Trainer":
                raise FieldError("only the Trainer runs on several machines", "nodes", name)
        return self
