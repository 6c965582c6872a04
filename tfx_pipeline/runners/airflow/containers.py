"""Arguments of Airflow's container operators: image, resources, volumes, secrets."""

from __future__ import annotations

from typing import Any

from tfx_pipeline.config.airflow import (
    AirflowConfig,
    AirflowKubernetes,
    AirflowNode,
    AirflowResources,
    AirflowVolume,
)
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.runners.airflow.python_text import Call

_CPUS = {"": 1, "m": 0.001}
_BYTES = {
    "": 1,
    **{f"{unit}i": 1024**power for power, unit in enumerate("KMGT", 1)},
    **{unit: 1000**power for power, unit in enumerate("kMGT", 1)},
}


def common(airflow: AirflowConfig) -> dict[str, Any]:
    """What holds for the container of every node."""
    if airflow.run_in == "docker":
        docker = airflow.docker
        arguments: dict[str, Any] = {
            "image": airflow.image,
            "docker_url": docker.docker_url,
            "docker_conn_id": docker.docker_conn_id,
            "network_mode": docker.network_mode,
            "user": docker.user,
            "force_pull": docker.force_pull,
        }
        fixed = {
            "auto_remove": "force",
            "mount_tmp_dir": False,
            "mounts": [_mount(volume) for volume in airflow.volumes],
        }
        return _given(arguments) | fixed | _docker_resources(airflow.resources)
    if airflow.run_in == "kubernetes":
        return _pod(airflow, airflow.kubernetes) | _pod_resources(airflow.resources)
    return {}


def own(airflow: AirflowConfig, node: AirflowNode) -> dict[str, Any]:
    """What is different in the container of one node."""
    if airflow.run_in == "process":
        return {}
    arguments: dict[str, Any] = {"image": node.image}
    if airflow.run_in == "docker":
        resources = _docker_resources(node.resources) if node.resources else {}
    else:
        resources = _pod_resources(node.resources) if node.resources else {}
        if node.node_selector:
            arguments["node_selector"] = {**airflow.kubernetes.node_selector, **node.node_selector}
    return _given(arguments) | resources


def secrets(config: PipelineConfig) -> list[Any]:
    """Names, never values. Docker: variables of the worker; Kubernetes: variable, secret, key."""
    airflow = config.run.airflow
    if airflow.run_in == "kubernetes":
        return [
            [name, *place.split("/", 1)] for name, place in airflow.kubernetes.secret_env.items()
        ]
    metadata = config.run.metadata
    return [metadata.password_env] if metadata.backend != "sqlite" and metadata.user else []


def uses_gpus(airflow: AirflowConfig) -> bool:
    """Whether any node asks for a GPU."""
    of_nodes = [node.resources for node in airflow.nodes.values() if node.resources]
    return any(resources.gpus for resources in [airflow.resources, *of_nodes])


def _pod(airflow: AirflowConfig, kubernetes: AirflowKubernetes) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "image": airflow.image,
        "namespace": kubernetes.namespace,
        "kubernetes_conn_id": kubernetes.kubernetes_conn_id,
        "service_account_name": kubernetes.service_account_name,
        "image_pull_policy": kubernetes.image_pull_policy,
        "image_pull_secrets": [
            Call("k8s.V1LocalObjectReference", {"name": name})
            for name in kubernetes.image_pull_secrets
        ],
        "node_selector": dict(kubernetes.node_selector),
        "labels": dict(kubernetes.labels),
        "annotations": dict(kubernetes.annotations),
        "startup_timeout_seconds": kubernetes.startup_timeout_seconds,
        "volumes": [_volume(number, volume) for number, volume in enumerate(airflow.volumes)],
        "volume_mounts": [_seen(number, volume) for number, volume in enumerate(airflow.volumes)],
    }
    given = _given(arguments)
    if kubernetes.in_cluster is not None:
        given["in_cluster"] = kubernetes.in_cluster
    return given


def _volume(number: int, volume: AirflowVolume) -> Call:
    if volume.claim:
        source = {
            "persistent_volume_claim": Call(
                "k8s.V1PersistentVolumeClaimVolumeSource", {"claim_name": volume.claim}
            )
        }
    elif volume.host_path:
        source = {"host_path": Call("k8s.V1HostPathVolumeSource", {"path": volume.host_path})}
    elif volume.config_map:
        source = {"config_map": Call("k8s.V1ConfigMapVolumeSource", {"name": volume.config_map})}
    else:
        source = {"secret": Call("k8s.V1SecretVolumeSource", {"secret_name": volume.secret})}
    return Call("k8s.V1Volume", {"name": f"volume-{number}", **source})


def _seen(number: int, volume: AirflowVolume) -> Call:
    arguments = {
        "name": f"volume-{number}",
        "mount_path": volume.mount_path,
        "sub_path": volume.sub_path,
        "read_only": volume.read_only,
    }
    return Call("k8s.V1VolumeMount", _given(arguments))


def _mount(volume: AirflowVolume) -> Call:
    arguments = {
        "target": volume.mount_path,
        "source": volume.host_path,
        "type": "bind",
        "read_only": volume.read_only,
    }
    return Call("Mount", _given(arguments))


def _pod_resources(resources: AirflowResources) -> dict[str, Any]:
    requests = _given({"cpu": resources.cpu, "memory": resources.memory})
    limits = _given({"cpu": resources.cpu_limit, "memory": resources.memory_limit})
    if resources.gpus:
        limits["nvidia.com/gpu"] = str(resources.gpus)
    given = _given({"requests": requests, "limits": limits})
    return {"container_resources": Call("k8s.V1ResourceRequirements", given)} if given else {}


def _docker_resources(resources: AirflowResources) -> dict[str, Any]:
    found: dict[str, Any] = {}
    cpus, memory = resources.cpu_limit or resources.cpu, resources.memory_limit or resources.memory
    if cpus:
        found["cpus"] = _quantity(cpus, _CPUS)
    if memory:
        found["mem_limit"] = int(_quantity(memory, _BYTES))
    if resources.gpus:
        arguments = {"count": resources.gpus, "capabilities": [["gpu"]]}
        found["device_requests"] = [Call("DeviceRequest", arguments)]
    return found


def _quantity(text: str, units: dict[str, float]) -> float:
    """A number with a unit as Kubernetes writes it; the config has checked its form."""
    number = text.rstrip("".join(units))
    return float(number) * units[text.removeprefix(number)]


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that say something."""
    return {key: value for key, value in arguments.items() if value}
