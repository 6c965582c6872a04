"""One node in a process of its own, for runners that start each node by a command.

`run_lone_node` is what `assay run-node` does: it runs the node and keeps the run's record, on which
several of these processes may work at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import filelock
from tfx.orchestration.portable.launcher import DEFAULT_EXECUTOR_OPERATORS
from tfx.proto.orchestration import pipeline_pb2

from tfx_pipeline.errors import Busy, ConfigError, GateRefused, NodeFailed, storage_errors
from tfx_pipeline.files import write_text
from tfx_pipeline.report import provenance
from tfx_pipeline.report import record as records
from tfx_pipeline.report.record import NodeRecord, RunRecord
from tfx_pipeline.runners import ir as ir_lib
from tfx_pipeline.runners import mlmd, results
from tfx_pipeline.runners.compiled import Compiled
from tfx_pipeline.runners.node import Outcome, State, completed, run_node
from tfx_pipeline.runners.recording import record_outcome
from trainer import progress

_LOCK_FILE = ".record.lock"
_PATIENCE_S = 60.0  # Whoever holds the record reads and writes one small file.
_GO_ON = "`assay run --resume`", "`assay run-node` again"
_GOOD_ENDS = {State.COMPLETE, State.CACHED, State.REUSED, State.SKIPPED}


class NotCached(BaseException):
    """Raised where the node has to be executed, so that it stays RUNNING in MLMD: the process that
    executes it goes on from there."""


def run_lone_node(
    compiled: Compiled,
    node_id: str,
    run_id: str,
    *,
    runner: str = "run-node",
    listener: Callable[[progress.Event], None] | None = None,
    execute: bool = True,
    operators: dict[Any, Any] | None = None,
) -> tuple[Outcome, RunRecord]:
    """Runs a node of a run; one that the run has completed before is not run again.

    Args:
        compiled: The pipeline.
        node_id: Id of the node.
        run_id: Names the run, in MLMD and below `run.root`. The same for all nodes of a run.
        runner: Who runs the nodes, for the run's record.
        listener: Is told of progress.
        execute: Run the node's executor where it has to be run.
        operators: As `run_node`'s.

    Returns:
        How it went, and the run's record afterwards. An error of the node is in both.

    Raises:
        NotCached: It has to be executed, and `execute` is false. The record is as it was.
        ConfigError: There is no such node, or nodes before it have not ended well in this run.
        EnvironmentMismatch: The metadata server's password is not in the environment.
        StorageError: `run.root` cannot be written.
        Busy: Another process holds the run's record; or, if `execute` is false, the database.
    """
    ir = _of_run(compiled, run_id)
    lost = _check_upstream(compiled, ir, node_id, run_id)
    if not execute:
        outcome = run_node(ir, node_id, dict.fromkeys(DEFAULT_EXECUTOR_OPERATORS, _never))
        if isinstance(outcome.error, Busy):
            raise outcome.error  # It has waited once.
        if outcome.error is not None:
            raise NotCached from outcome.error
        with _record(compiled, ir, run_id, runner) as record:
            for each in (*lost, outcome):
                record_outcome(record, each, None)
        return outcome, record
    latest: list[progress.Event] = []

    def listen(event: progress.Event) -> None:
        latest[:] = [event]
        if listener is not None:
            listener(event)

    with _record(compiled, ir, run_id, runner) as record:
        for each in lost:
            record_outcome(record, each, None)
        before = record.nodes[node_id]
        tries = before.tries + (before.state in (State.FAILED, State.RUNNING))
        record.nodes[node_id] = before.model_copy(update={"state": State.RUNNING, "tries": tries})
    with progress.listen(listen):
        outcome = replace(run_node(ir, node_id, operators), tries=tries)
    if outcome.error is not None:
        # Raised far from here, for those who type `assay run`.
        outcome.error.hint = outcome.error.hint.replace(*_GO_ON)
    with _record(compiled, ir, run_id, runner) as record:
        record_outcome(record, outcome, latest[0] if latest else None)
    return outcome, record


def record_skipped(
    compiled: Compiled, run_id: str, node_ids: Iterable[str], runner: str
) -> RunRecord:
    """Records nodes that a runner does not even start, for a gate before them refused.

    Raises:
        StorageError: `run.root` cannot be written.
    """
    with _record(compiled, compiled.ir, run_id, runner) as record:
        for node_id in node_ids:
            if record.nodes[node_id].state == State.WAITING:
                record.nodes[node_id] = NodeRecord(state=State.SKIPPED)
    return record


def _check_upstream(
    compiled: Compiled, ir: pipeline_pb2.Pipeline, node_id: str, run_id: str
) -> list[Outcome]:
    """Refuses a node that comes too early.

    Returns:
        What MLMD knows of the nodes before it and the record does not. On a mounted bucket no lock
        reaches other machines, so that of two nodes that end at once one may lose its line.
    """
    upstream = ir_lib.node_spec(ir, node_id).upstream_nodes
    states: dict[str, str] = {}
    if (compiled.config.root / run_id / records.RECORD_FILE).exists():
        record = records.load_exactly(compiled.config.root, run_id)
        states = {name: node.state for name, node in record.nodes.items()}
    unknown = [name for name in upstream if states.get(name) not in _GOOD_ENDS]
    found = {name: completed(ir, name) for name in unknown}
    missing = [name for name, outcome in found.items() if outcome is None]
    if missing:
        raise ConfigError(
            f"{node_id} reads from {', '.join(missing)}, which run {run_id} has not completed",
            where=str(compiled.config.root / run_id),
            hint="Run the nodes in the order of the graph, with one --run-id.",
        )
    return [outcome for outcome in found.values() if outcome is not None]


def _never(**_: Any) -> Any:
    """Takes the place of the operator that imports and runs an executor."""
    return _Never()


class _Never:
    def with_execution_watcher(self, address: str) -> None:
        pass

    def run_executor(self, execution_info: Any) -> Any:
        raise NotCached


def _of_run(compiled: Compiled, run_id: str) -> pipeline_pb2.Pipeline:
    """The IR with its run id and password, and the folder of its database."""
    ir = pipeline_pb2.Pipeline()
    ir.CopyFrom(compiled.ir)
    mlmd.reveal_password(ir)
    ir_lib.set_run_id(ir, run_id)
    if compiled.config.run.metadata.backend == "sqlite":
        # TFX makes it where a pipeline is authored; this may be another machine.
        folder = mlmd.sqlite_path(compiled.config).parent
        with storage_errors(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
    return ir


@contextmanager
def _record(
    compiled: Compiled, ir: pipeline_pb2.Pipeline, run_id: str, runner: str
) -> Iterator[RunRecord]:
    """The run's record, made where there is none; saved at the end, as the only one who writes."""
    config = compiled.config
    folder = config.root / run_id
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / _LOCK_FILE)
        try:
            lock.acquire(timeout=_PATIENCE_S)
        except filelock.Timeout:
            raise Busy(
                f"another process has held the run's record for {_PATIENCE_S:.0f} s",
                where=lock.lock_file,
                hint=f"`fuser {lock.lock_file}` names it. Run the node again once it has ended.",
            ) from None
    try:
        if (folder / records.RECORD_FILE).exists():
            record = records.load_exactly(config.root, run_id)
        else:
            record = _new(compiled, ir, run_id, runner)
            write_text(folder / records.CONFIG_FILE, provenance.resolved_yaml(config))
        yield record
        _judge(record)
        records.save(record, config.root)
    finally:
        lock.release()


def _new(compiled: Compiled, ir: pipeline_pb2.Pipeline, run_id: str, runner: str) -> RunRecord:
    config = compiled.config
    return RunRecord(
        run_id=run_id,
        pipeline=config.name,
        runner=runner,
        started=records.now(),
        nodes={node.id: NodeRecord() for node in ir_lib.nodes(ir)},
        model_name=config.model_name,
        config_digest=provenance.config_digest(config),
        config_file=str(config.source or ""),
        git_commit=compiled.git_commit,
        versions=provenance.versions(),
    )


def _judge(record: RunRecord) -> None:
    """How the run stands, by its nodes: no process sees the whole of it."""
    failed = [node for node in record.nodes.values() if node.state == State.FAILED]
    done = all(node.state in _GOOD_ENDS for node in record.nodes.values())
    record.seconds = round(time.time() - record.started.timestamp(), 3)
    record.ended = records.now() if failed or done else None
    record.error, record.exit_code = "", None
    if failed:
        record.state, record.error = "failed", failed[0].error
        record.exit_code = NodeFailed.exit_code
    elif not done:
        record.state = "running"
    else:
        refusal = results.refusal(record)
        record.state = "refused" if refusal else "complete"
        record.error = refusal or ""
        record.exit_code = GateRefused.exit_code if refusal else 0
