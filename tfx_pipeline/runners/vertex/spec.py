"""The PipelineSpec (schema 2.1.0) of a compiled pipeline: one container task for each node.

TFX's own compiler for Kubeflow takes no custom resolver strategies, and its container entry point
does not work; here every task runs `assay run-node`, so the lineage is the same as everywhere.
Which task starts when is said by `dependentTasks`: data pass through files and ML Metadata.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from tfx.proto.orchestration import pipeline_pb2

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.config.vertex import VertexNode
from tfx_pipeline.runners.vertex import conditions, custom_job
from tfx_pipeline.runners.vertex.task import REFUSED

RUN_ID = "{{$.inputs.parameters['run_id']}}"
STATE_FILE = "{{$.outputs.parameters['state'].output_file}}"
# Vertex: the job's id, which `assay submit` chooses. Kubeflow: a run's name may be any text.
_VERTEX_RUN_ID = "{{$.pipeline_job_name}}"
_KUBEFLOW_RUN_ID = "{{$.pipeline_job_uuid}}"

Json = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """What the tasks are written for.

    Attributes:
        config: The pipeline.
        ir_path: Where containers find the compiled pipeline.
    """

    config: PipelineConfig
    ir_path: str

    @property
    def is_kubeflow(self) -> bool:
        """Kubeflow Pipelines instead of Vertex."""
        return self.config.run.vertex.kubeflow is not None

    def node(self, node_id: str) -> VertexNode:
        """The machine of a node."""
        return self.config.run.vertex.nodes.get(node_id, VertexNode())


def pipeline_spec(ir: pipeline_pb2.Pipeline, target: Target) -> Json:
    """The PipelineSpec, as JSON has it (camelCase)."""
    nodes = [node.pipeline_node for node in ir.nodes]
    return {
        "pipelineInfo": {"name": pipeline_name(target.config)},
        "schemaVersion": "2.1.0",
        "sdkVersion": f"tfx-{version('tfx')}",
        "deploymentSpec": {
            "executors": {
                executor_name(node.node_info.id, target): _executor(node.node_info.id, target)
                for node in nodes
            }
        },
        "components": {
            f"comp-{task_name(node.node_info.id, target)}": _component(node, target)
            for node in nodes
        },
        "root": {
            "dag": {
                "tasks": {
                    task_name(node.node_info.id, target): _task(node, target) for node in nodes
                }
            }
        },
    }


def platform_spec(ir: pipeline_pb2.Pipeline, target: Target) -> Json:
    """The second document for Kubeflow: volume and secret of each executor."""
    kubeflow = target.config.run.vertex.kubeflow
    assert kubeflow is not None
    executor: Json = {
        "pvcMount": [
            {
                "constant": kubeflow.volume_claim,
                "mountPath": kubeflow.mount_path,
                "pvcNameParameter": {"runtimeValue": {"constant": kubeflow.volume_claim}},
            }
        ]
    }
    if kubeflow.password_secret:
        secret, _, key = kubeflow.password_secret.partition("/")
        variable = target.config.run.metadata.password_env
        executor["secretAsEnv"] = [
            {
                "secretName": secret,
                "secretNameParameter": {"runtimeValue": {"constant": secret}},
                "keyToEnv": [{"secretKey": key, "envVar": variable}],
                "optional": False,
            }
        ]
    names = [executor_name(node.pipeline_node.node_info.id, target) for node in ir.nodes]
    executors = dict.fromkeys(names, executor)
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def pipeline_name(config: PipelineConfig) -> str:
    """The pipeline's name as Vertex and Kubeflow want it: lower case, no underscore."""
    return config.name.lower().replace("_", "-").strip("-")


def task_name(node_id: str, target: Target) -> str:
    """The task's name: the node's id. Kubeflow names pods by it, so there it is kebab case."""
    if not target.is_kubeflow:
        return node_id
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", node_id).replace("_", "-").lower()


def executor_name(node_id: str, target: Target) -> str:
    """The label that ties a component to its executor."""
    return f"exec-{task_name(node_id, target)}"


def _component(node: pipeline_pb2.PipelineNode, target: Target) -> Json:
    outputs: Json = {"state": {"parameterType": "STRING"}}
    if _is_custom_job(node.node_info.id, target):
        outputs["gcp_resources"] = {"parameterType": "STRING"}
    inputs = {"run_id", *(_state_of(gate) for gate in _gates(node, target))}
    return {
        "executorLabel": executor_name(node.node_info.id, target),
        "inputDefinitions": {
            "parameters": {name: {"parameterType": "STRING"} for name in sorted(inputs)}
        },
        "outputDefinitions": {"parameters": outputs},
    }


def _task(node: pipeline_pb2.PipelineNode, target: Target) -> Json:
    node_id = node.node_info.id
    name = task_name(node_id, target)
    gates = _gates(node, target)
    run_id = _KUBEFLOW_RUN_ID if target.is_kubeflow else _VERTEX_RUN_ID
    parameters: Json = {"run_id": {"runtimeValue": {"constant": run_id}}}
    for gate in gates:
        parameters[_state_of(gate)] = {
            "taskOutputParameter": {
                "producerTask": task_name(gate, target),
                "outputParameterKey": "state",
            }
        }
    task: Json = {
        "taskInfo": {"name": name},
        "componentRef": {"name": f"comp-{name}"},
        "inputs": {"parameters": parameters},
        # TFX has a cache of its own. A task that Vertex took from its cache would leave nothing in
        # ML Metadata, where the next ones look for it.
        "cachingOptions": {"enableCache": False},
    }
    upstream = sorted(task_name(each, target) for each in {*node.upstream_nodes, *gates})
    if upstream:
        task["dependentTasks"] = upstream
    if gates:
        told = [f"inputs.parameter_values['{_state_of(gate)}'] != '{REFUSED}'" for gate in gates]
        task["triggerPolicy"] = {"condition": " && ".join(told)}
    vertex = target.config.run.vertex
    asked = target.node(node_id).retries
    retries = vertex.retries if asked is None else asked
    if retries:
        task["retryPolicy"] = {
            "maxRetryCount": retries,
            "backoffDuration": f"{vertex.retry_wait_seconds:g}s",
            "backoffFactor": 2.0,
            "backoffMaxDuration": "3600s",
        }
    return task


def _gates(node: pipeline_pb2.PipelineNode, target: Target) -> list[str]:
    """Whose refusal keeps a task from being started at all, with the machine it would cost.

    The node would find out by itself. Kubeflow fails a task that asks for the output of one that
    was not started, so there every task starts.
    """
    return [] if target.is_kubeflow else conditions.gates(node)


def _state_of(gate: str) -> str:
    return f"{gate}_state"


def _is_custom_job(node_id: str, target: Target) -> bool:
    return target.node(node_id).is_custom_job and not target.is_kubeflow


def _executor(node_id: str, target: Target) -> Json:
    container = _container(node_id, target)
    if _is_custom_job(node_id, target):
        return {"container": custom_job.launcher(node_id, container, target.config)}
    resources = _resources(target.node(node_id), target)
    return {"container": {**container, **({"resources": resources} if resources else {})}}


def _container(node_id: str, target: Target) -> Json:
    """Image, command and environment of a node's container."""
    vertex, node = target.config.run.vertex, target.node(node_id)
    args = ["--state", STATE_FILE]
    if vertex.password_secret and not target.is_kubeflow:
        args += ["--secret", f"{target.config.run.metadata.password_env}={vertex.password_secret}"]
    runner = "kubeflow" if target.is_kubeflow else "vertex"
    args += ["--", "assay", "run-node", target.ir_path, "--node", node_id, "--run-id", RUN_ID]
    args += ["--runner", runner, "--skip-exit-code", "0"]
    container: Json = {
        "image": node.image or vertex.image,
        "command": ["python", "-m", "tfx_pipeline.runners.vertex.task"],
        "args": args,
    }
    env = {**vertex.env, **node.env}
    if env:
        container["env"] = [{"name": name, "value": value} for name, value in sorted(env.items())]
    return container


def _resources(node: VertexNode, target: Target) -> Json:
    """Limits: Vertex picks the smallest machine that has them. Both spellings, as kfp writes
    them: the older fields are the ones that older servers read."""
    found: Json = {}
    if node.cpu is not None:
        found |= {"cpuLimit": node.cpu, "resourceCpuLimit": f"{node.cpu:g}"}
    if node.memory_gb is not None:
        found |= {"memoryLimit": node.memory_gb, "resourceMemoryLimit": f"{node.memory_gb:g}G"}
    if node.accelerator_type:
        is_gpu = node.accelerator_type.startswith("NVIDIA")
        kind = "nvidia.com/gpu" if target.is_kubeflow and is_gpu else node.accelerator_type
        count = str(node.accelerator_count)
        found["accelerator"] = {
            "type": kind,
            "count": count,
            "resourceType": kind,
            "resourceCount": count,
        }
    return found
