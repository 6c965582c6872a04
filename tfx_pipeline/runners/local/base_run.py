"""Finds the run whose outputs stand in for the nodes that a partial run leaves out."""

from __future__ import annotations

import copy

from tfx.proto.orchestration import pipeline_pb2

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.report import record as records
from tfx_pipeline.runners import ir as ir_lib
from tfx_pipeline.runners.node import State

_HAS_OUTPUTS = {State.COMPLETE, State.CACHED, State.REUSED}


def find(
    config: PipelineConfig, ir: pipeline_pb2.Pipeline, from_nodes: list[str], to_nodes: list[str]
) -> str:
    """Id of the latest run of this pipeline that ended every node left out before the first.

    Raises:
        ConfigError: There is none.
    """
    trial = copy.deepcopy(ir)
    ir_lib.select(trial, from_nodes, to_nodes, base_run_id="unknown")
    needed = _upstream_left_out(trial)
    for record in reversed(records.load_all(config.root)):
        ended = {node_id for node_id, node in record.nodes.items() if node.state in _HAS_OUTPUTS}
        if record.pipeline == config.name and needed <= ended:
            return record.run_id
    if not needed:
        return ""
    raise ConfigError(
        f"no earlier run has the outputs of {', '.join(sorted(needed))}",
        where=str(config.root),
        hint="Run the whole pipeline once with `assay run`.",
    )


def _upstream_left_out(ir: pipeline_pb2.Pipeline) -> set[str]:
    graph = {node.id: node for node in ir_lib.nodes(ir)}
    pending = [node for node in graph.values() if not node.skipped]
    needed: set[str] = set()
    while pending:
        for name in pending.pop().upstream:
            if graph[name].skipped and name not in needed:
                needed.add(name)
                pending.append(graph[name])
    return needed
