"""The compiled pipeline (TFX's IR): compiling, the run id, who waits for whom, partial runs."""

from __future__ import annotations

from dataclasses import dataclass

from tfx.dsl.compiler import constants as compiler_constants
from tfx.orchestration import metadata
from tfx.orchestration import pipeline as tfx_pipeline_lib
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import partial_run_utils, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from tfx_pipeline.errors import ConfigError
from tfx_pipeline.runners import mlmd, names


@dataclass(frozen=True)
class Node:
    """A node of the graph, and the ids of the nodes it waits for."""

    id: str
    upstream: frozenset[str]
    skipped: bool  # Left out by a partial run.


def compile_pipeline(pipeline: tfx_pipeline_lib.Pipeline, run_id: str) -> pipeline_pb2.Pipeline:
    """Compiles a pipeline and fixes its run id, which is what makes a run resumable."""
    from tfx.dsl.compiler import compiler  # It imports all of TFX, which running need not.

    ir: pipeline_pb2.Pipeline = compiler.Compiler().compile(pipeline)
    set_run_id(ir, run_id)
    return ir


def set_run_id(ir: pipeline_pb2.Pipeline, run_id: str) -> None:
    """Fixes the run id of a compiled pipeline, in place."""
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {compiler_constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )


def nodes(ir: pipeline_pb2.Pipeline) -> list[Node]:
    """The nodes in topological order."""
    return [
        Node(
            id=node.pipeline_node.node_info.id,
            upstream=frozenset(node.pipeline_node.upstream_nodes),
            skipped=node.pipeline_node.execution_options.HasField("skip"),
        )
        for node in ir.nodes
    ]


def node_spec(ir: pipeline_pb2.Pipeline, node_id: str) -> pipeline_pb2.PipelineNode:
    """The IR of one node.

    Raises:
        ConfigError: There is no node of that id.
    """
    for node in ir.nodes:
        if node.pipeline_node.node_info.id == node_id:
            return node.pipeline_node
    names.check([node_id], [node.id for node in nodes(ir)])
    raise AssertionError(node_id)  # The check has raised.


def select(
    ir: pipeline_pb2.Pipeline, from_nodes: list[str], to_nodes: list[str], base_run_id: str
) -> None:
    """Marks a partial run: everything before `from_nodes` is reused from the run `base_run_id`.

    Args:
        ir: Changed in place.
        from_nodes: First nodes to run; empty: from the start.
        to_nodes: Last nodes to run; empty: to the end.
        base_run_id: Run whose outputs stand in for the nodes left out.

    Raises:
        ConfigError: A node does not exist, or nothing lies between the two.
    """
    names.check([*from_nodes, *to_nodes], [node.id for node in nodes(ir)])
    snapshot = pipeline_pb2.SnapshotSettings()
    partial_run_utils.set_base_pipeline_run_strategy(snapshot, base_run_id)
    try:
        partial_run_utils.mark_pipeline(
            ir,
            from_nodes=from_nodes or None,
            to_nodes=to_nodes or None,
            snapshot_settings=snapshot,
        )
    except ValueError as error:
        raise ConfigError(f"this selection of nodes cannot run: {error}") from error
    if all(node.skipped for node in nodes(ir)):
        raise ConfigError(
            f"no node lies between {', '.join(from_nodes)} and {', '.join(to_nodes)}",
            hint="--from names a node that comes before the one of --to.",
        )


def take_over(ir: pipeline_pb2.Pipeline, handle: metadata.Metadata) -> None:
    """Publishes in a partial run what it reuses of its base run. Twice is as good as once.

    TFX's launcher leaves that to the first node that it runs; ours may run several at once, and
    none of them may look for its inputs before.
    """
    with handle as connected:
        partial_run_utils.snapshot(connected, ir)


def changed_since(ir: pipeline_pb2.Pipeline, handle: mlmd.SerializedMetadata) -> list[str]:
    """Ids of nodes that this run has completed with another `custom_config` than they have now.

    It holds the fingerprints of the user's code. A resumed run takes a completed node's outputs as
    they are, so a function edited meanwhile would be in one half of the run and not in the other.
    """
    run_id = ir.runtime_spec.pipeline_run_id.field_value.string_value
    changed = []
    with handle as connected:
        for node in ir.nodes:
            spec = node.pipeline_node
            if _CUSTOM_CONFIG not in spec.parameters.parameters:
                continue
            now = spec.parameters.parameters[_CUSTOM_CONFIG].field_value.string_value
            found = mlmd.executions(connected, ir.pipeline_info.id, run_id, spec.node_info.id)
            good = [e for e in found if e.last_known_state in mlmd.GOOD_STATES]
            # A node that a partial run takes over has an execution without properties.
            stored = good[-1].custom_properties if good else {}
            if _CUSTOM_CONFIG in stored and stored[_CUSTOM_CONFIG].string_value != now:
                changed.append(spec.node_info.id)
    return changed


_CUSTOM_CONFIG = "custom_config"


def deployment(ir: pipeline_pb2.Pipeline) -> pipeline_pb2.IntermediateDeploymentConfig:
    """The part of the IR that says how nodes execute on this machine."""
    return runner_utils.extract_local_deployment_config(ir)
