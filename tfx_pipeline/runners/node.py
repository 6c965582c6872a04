"""Runs one node of a compiled pipeline, and says in our words how it went.

Every runner ends here: the local one calls it in threads, others in a process or container of
their own.
"""

from __future__ import annotations

import enum
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import Artifact

from tfx_pipeline.errors import AssayError, NodeFailed
from tfx_pipeline.runners import ir as ir_lib
from tfx_pipeline.runners import mlmd
from tfx_pipeline.runners.explain import explain

log = logging.getLogger(__name__)


class State(enum.StrEnum):
    """How a node stands in a run."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    CACHED = "cached"  # An earlier run's result, for nothing that the node reads has changed.
    REUSED = "reused"  # Left out by a partial run, or done before `--resume`.
    SKIPPED = "skipped"  # A gate upstream refused.
    FAILED = "failed"
    NOT_RUN = "not run"  # A node upstream failed, or the run ends before it (`--to`).


@dataclass(frozen=True)
class Outcome:
    """How one node went. `seconds` is wall time."""

    node_id: str
    state: State
    seconds: float = 0.0
    error: AssayError | None = None
    outputs: dict[str, list[Artifact]] = field(default_factory=dict)
    tries: int = 1


def run_node(
    ir: pipeline_pb2.Pipeline, node_id: str, operators: dict[Any, Any] | None = None
) -> Outcome:
    """Runs one node to its end. A node that this run has already completed is not run again.

    Args:
        ir: The compiled pipeline with its run id.
        node_id: Id of the node.
        operators: Executor specs to the operators that run them, instead of TFX's own
            (`Launcher`'s `custom_executor_operators`).

    Returns:
        The outcome; an error of the node is in it, not raised.

    Raises:
        ConfigError: There is no such node.
    """
    spec = ir_lib.node_spec(ir, node_id)
    started = time.monotonic()
    try:
        state, outputs = _launch(ir, spec, operators)
    except Exception as error:  # Whatever a component or user's function raises ends here.
        log.exception("%s failed", node_id)
        root = ir.runtime_spec.pipeline_root.field_value.string_value
        seconds = time.monotonic() - started
        return Outcome(node_id, State.FAILED, seconds, explain(error, node_id, root))
    return Outcome(node_id, state, time.monotonic() - started, outputs=outputs)


def completed(ir: pipeline_pb2.Pipeline, node_id: str) -> Outcome | None:
    """How a node ended that this run has completed, as MLMD has it; None where it has not."""
    done = _read_back(mlmd.handle(ir), ir, node_id)
    if done is None or done.state not in _GOOD:
        return None
    return Outcome(node_id, _GOOD[done.state], outputs=done.outputs)


def _launch(
    ir: pipeline_pb2.Pipeline, spec: pipeline_pb2.PipelineNode, operators: dict[Any, Any] | None
) -> tuple[State, dict[str, list[Artifact]]]:
    node_id = spec.node_info.id
    before = completed(ir, node_id)
    if before is not None:
        return State.REUSED, before.outputs
    if spec.execution_options.HasField("skip"):
        return State.NOT_RUN, {}  # Behind the last node of a partial run.
    handle = mlmd.handle(ir)
    deployment = ir_lib.deployment(ir)
    launcher.Launcher(
        pipeline_node=spec,
        mlmd_connection=handle,
        pipeline_info=ir.pipeline_info,
        pipeline_runtime_spec=ir.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
        custom_executor_operators=operators,
    ).launch()
    done = _read_back(handle, ir, node_id)
    if done is None:
        return State.SKIPPED, {}
    if done.state not in _GOOD:
        raise NodeFailed(
            f"ended as {mlmd.Execution.State.Name(done.state)}: {done.message}",
            where=node_id,
            hint="Mend the cause, then go on with `assay run --resume`.",
        )
    return _GOOD[done.state], done.outputs


_GOOD = {
    mlmd.Execution.COMPLETE: State.COMPLETE,
    mlmd.Execution.CACHED: State.CACHED,
}


@dataclass(frozen=True)
class _ReadBack:
    state: int
    outputs: dict[str, list[Artifact]]
    message: str


def _read_back(
    handle: mlmd.SerializedMetadata, ir: pipeline_pb2.Pipeline, node_id: str
) -> _ReadBack | None:
    """What MLMD says of the node in this run: its last good execution, else its last one."""
    run_id = ir.runtime_spec.pipeline_run_id.field_value.string_value
    with handle as connected:
        found = mlmd.executions(connected, ir.pipeline_info.id, run_id, node_id)
        if not found:
            return None
        good = [e for e in found if e.last_known_state in _GOOD]
        execution = (good or found)[-1]
        result = execution.custom_properties.get("__execution_result__")
        return _ReadBack(
            state=execution.last_known_state,
            outputs=mlmd.outputs(connected, execution.id),
            message=result.string_value[:500] if result else "the log has the reason",
        )
