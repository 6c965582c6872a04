"""`assay compile --to vertex`: the files that Vertex AI and Kubeflow Pipelines take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.files import write_text
from tfx_pipeline.lint import OF_THE_DATA, lint
from tfx_pipeline.runners import compiled as compiled_lib
from tfx_pipeline.runners import ir as ir_lib
from tfx_pipeline.runners import names
from tfx_pipeline.runners.compiled import Compiled
from tfx_pipeline.runners.vertex import paths
from tfx_pipeline.runners.vertex.spec import Target, pipeline_name, pipeline_spec, platform_spec


def deployed(config: PipelineConfig) -> PipelineConfig:
    """The config as the containers have it: relative paths start from the folder in the image.

    Compile this one: fingerprints of the user's code are still computed from the files here.

    Raises:
        ConfigError: Something is missing, or a path is not one that a container sees.
    """
    check(config)
    return config.deployed_to(Path(config.run.vertex.project_dir))


def checked(config: PipelineConfig) -> PipelineConfig:
    """`deployed`, after every check of `assay check` but those that look at the data: they are in
    the cloud.

    Raises:
        ConfigError: The first problem, or all that `assay check` finds.
    """
    found = deployed(config)
    lint(config, without=OF_THE_DATA)
    return found


def check(config: PipelineConfig) -> None:
    """Refuses a config that cannot run in containers.

    Raises:
        ConfigError: Names the field, its file and line.
    """
    vertex = config.run.vertex
    needed = {"image": "the address of the image that `assay image` builds"}
    if vertex.kubeflow is None:
        needed |= {
            "project": "your Google Cloud project's id",
            "staging": "a gs:// folder that the service account may write",
        }
    for field, what in needed.items():
        if not getattr(vertex, field):
            raise ConfigError(
                f"run.vertex.{field} is missing",
                where=config.place(f"run.vertex.{field}"),
                hint=f"Set it to {what}.",
            )
    if config.run.metadata.backend == "sqlite":
        raise ConfigError(
            "run.metadata.backend is sqlite, a file that containers on several machines cannot "
            "share",
            where=config.place("run.metadata.backend"),
            hint="Set it to postgresql or mysql, for instance on Cloud SQL; docs/vertex.md "
            "says how.",
        )
    _check_password(config)
    _check_replicas(config)
    paths.check(config)


def _check_password(config: PipelineConfig) -> None:
    vertex, kubeflow = config.run.vertex, config.run.vertex.kubeflow
    field = "run.vertex.password_secret"
    given = vertex.password_secret
    if kubeflow is not None:
        field, given = "run.vertex.kubeflow.password_secret", kubeflow.password_secret
    if config.run.metadata.user and not given:
        raise ConfigError(
            f"{field} is missing: the nodes would have no password for the metadata server",
            where=config.place(field),
            hint="Store it in Secret Manager and name it: projects/P/secrets/S/versions/latest."
            if kubeflow is None
            else "Make a Kubernetes Secret and name it: secret-name/key.",
        )


def _check_replicas(config: PipelineConfig) -> None:
    vertex, wanted = config.run.vertex, "multi_worker"
    for name, node in vertex.nodes.items():
        if node.replica_count == 1:
            continue
        field = f"run.vertex.nodes.{name}.replica_count"
        if vertex.kubeflow is not None:
            raise ConfigError(
                "Kubeflow Pipelines starts one pod for a task, not several replicas",
                where=config.place(field),
                hint="Leave replica_count out, or train on Vertex.",
            )
        if config.train.strategy != wanted:
            raise ConfigError(
                f"several replicas need train.strategy: {wanted}, and it is "
                f"{config.train.strategy}",
                where=config.place(field),
                hint=f"Set train.strategy to {wanted}.",
            )


def job(compiled: Compiled, ir_text: str) -> dict[str, Any]:
    """The PipelineJob, as Vertex's API has it in JSON.

    Args:
        compiled: Of a config that is `deployed`.
        ir_text: Content of the compiled pipeline's file.

    Raises:
        ConfigError: `run.vertex.nodes` names a node that the pipeline does not have.
    """
    config, vertex = compiled.config, compiled.config.run.vertex
    policy = "FAST" if vertex.fail_fast else "SLOW"
    found: dict[str, Any] = {
        "displayName": config.name,
        "pipelineSpec": _spec(compiled, ir_text),
        "runtimeConfig": {
            "gcsOutputDirectory": vertex.staging.rstrip("/"),
            "failurePolicy": f"PIPELINE_FAILURE_POLICY_FAIL_{policy}",
        },
        "labels": {"assay-pipeline": pipeline_name(config)[:63], **vertex.labels},
    }
    if vertex.service_account:
        found["serviceAccount"] = vertex.service_account
    if vertex.encryption_key:
        found["encryptionSpec"] = {"kmsKeyName": vertex.encryption_key}
    if vertex.network:
        found["network"] = vertex.network
    if vertex.reserved_ip_ranges:
        found["reservedIpRanges"] = vertex.reserved_ip_ranges
    if vertex.network_attachment:
        found["pscInterfaceConfig"] = {"networkAttachment": vertex.network_attachment}
    return found


def _spec(compiled: Compiled, ir_text: str) -> dict[str, Any]:
    known = [node.id for node in ir_lib.nodes(compiled.ir)]
    names.check(compiled.config.run.vertex.nodes, known)
    return pipeline_spec(compiled.ir, _target(compiled, ir_text))


def _target(compiled: Compiled, ir_text: str) -> Target:
    address = paths.ir_address(compiled.config, ir_text)
    return Target(compiled.config, paths.mounted(address))


def write_spec(compiled: Compiled, out: Path) -> list[Path]:
    """Writes the files; nothing is asked of the network.

    `<name>.vertex.json` is the PipelineJob that `assay submit` creates, `<name>.pipeline.yaml` the
    PipelineSpec alone, which Vertex's console and Kubeflow Pipelines take, and `<name>.ir.json`
    what the containers read. With `run.vertex.kubeflow` there is no PipelineJob.

    Args:
        compiled: Of a config that is `deployed`.
        out: Folder to write to.

    Raises:
        ConfigError: The config cannot run in containers.
        StorageError: The folder cannot be written.
    """
    config = compiled.config
    check(config)
    ir_text = compiled_lib.to_json(compiled)
    spec = _spec(compiled, ir_text)
    documents = [spec]
    written = [out / f"{config.name}.ir.json", out / f"{config.name}.pipeline.yaml"]
    if config.run.vertex.kubeflow is not None:
        documents.append(platform_spec(compiled.ir, _target(compiled, ir_text)))
    else:
        written.append(out / f"{config.name}.vertex.json")
        write_text(written[-1], json.dumps(job(compiled, ir_text), indent=1, sort_keys=True) + "\n")
    write_text(written[0], ir_text)
    write_text(written[1], _yaml(documents))
    return written


def _yaml(documents: list[dict[str, Any]]) -> str:
    texts = [yaml.dump(document, Dumper=_Plain, sort_keys=True) for document in documents]
    return "---\n".join(texts)


class _Plain(yaml.SafeDumper):
    """Writes what stands in several places each time, where YAML would have an alias."""

    def ignore_aliases(self, data: object) -> bool:
        return True
