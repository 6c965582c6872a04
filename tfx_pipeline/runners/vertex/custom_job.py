"""A node as a Vertex custom job: machine types, several replicas, TPUs, disks, spot machines.

The pipeline's task is Google's launcher component, which Vertex knows and carries out without
starting its container (`create_custom_training_job_from_component` compiles to the same). The
`customJob` executor of the PipelineSpec's schema has no documented user any more.
"""

from __future__ import annotations

import json
from typing import Any

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.config.vertex import VertexConfig, VertexNode

IMAGE = "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.22.0"
_RESOURCES_FILE = "{{$.outputs.parameters['gcp_resources'].output_file}}"

Json = dict[str, Any]


def launcher(node_id: str, container: Json, config: PipelineConfig) -> Json:
    """The container of Google's launcher, which is told the custom job as JSON."""
    vertex = config.run.vertex
    return {
        "image": IMAGE,
        "command": [
            "python3",
            "-u",
            "-m",
            "google_cloud_pipeline_components.container.v1.custom_job.launcher",
        ],
        "args": [
            "--type",
            "CustomJob",
            "--payload",
            json.dumps(custom_job(node_id, container, config), sort_keys=True),
            "--project",
            vertex.project,
            "--location",
            vertex.region,
            "--gcp_resources",
            _RESOURCES_FILE,
        ],
    }


def custom_job(node_id: str, container: Json, config: PipelineConfig) -> Json:
    """The CustomJob, as `aiplatform_v1.CustomJob` has it in JSON (snake_case).

    Args:
        node_id: The node.
        container: Image, command, args and env of its container.
        config: The pipeline.
    """
    vertex = config.run.vertex
    node = vertex.nodes[node_id]
    pool = _pool(node, container)
    pools = [{**pool, "replica_count": 1}]
    if node.replica_count > 1:
        # The first pool is the chief's, as TF_CONFIG names it; the workers are the second.
        pools.append({**pool, "replica_count": node.replica_count - 1})
    spec: Json = {"worker_pool_specs": pools, "scheduling": _scheduling(node), **_network(vertex)}
    if vertex.service_account:
        spec["service_account"] = vertex.service_account
    job: Json = {"display_name": f"{config.name}-{node_id}", "job_spec": spec}
    if vertex.labels:
        job["labels"] = vertex.labels
    if vertex.encryption_key:
        job["encryption_spec"] = {"kms_key_name": vertex.encryption_key}
    return job


def _pool(node: VertexNode, container: Json) -> Json:
    machine: Json = {"machine_type": node.machine_type}
    if node.accelerator_type:
        machine["accelerator_type"] = node.accelerator_type
        machine["accelerator_count"] = node.accelerator_count
    if node.tpu_topology:
        machine["tpu_topology"] = node.tpu_topology
    pool: Json = {
        "machine_spec": machine,
        "container_spec": {
            "image_uri": container["image"],
            "command": container["command"],
            "args": container["args"],
            "env": container.get("env", []),
        },
    }
    disk: Json = {}
    if node.boot_disk_type:
        disk["boot_disk_type"] = node.boot_disk_type
    if node.boot_disk_gb:
        disk["boot_disk_size_gb"] = node.boot_disk_gb
    return {**pool, "disk_spec": disk} if disk else pool


def _scheduling(node: VertexNode) -> Json:
    scheduling: Json = {"strategy": "SPOT" if node.spot else "STANDARD"}
    if node.timeout_hours is not None:
        scheduling["timeout"] = f"{round(node.timeout_hours * 3600)}s"
    if node.replica_count > 1:
        # Training in step with a worker that was replaced would hang: all start again, from the
        # last checkpoint.
        scheduling["restart_job_on_worker_restart"] = True
    return scheduling


def _network(vertex: VertexConfig) -> Json:
    if vertex.network:
        ranges = {"reserved_ip_ranges": vertex.reserved_ip_ranges}
        return {"network": vertex.network, **(ranges if vertex.reserved_ip_ranges else {})}
    if vertex.network_attachment:
        return {"psc_interface_config": {"network_attachment": vertex.network_attachment}}
    return {}
