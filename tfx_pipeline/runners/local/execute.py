"""Compiles the pipeline and runs its nodes in this process, keeping the record as it goes."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable

import absl.logging
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from tfx.orchestration import pipeline as tfx_pipeline_lib
from tfx.proto.orchestration import pipeline_pb2

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import ConfigError, GateRefused
from tfx_pipeline.report import record as records
from tfx_pipeline.report.record import NodeRecord, RunRecord
from tfx_pipeline.runners import ir as ir_lib
from tfx_pipeline.runners import mlmd, results
from tfx_pipeline.runners.beam.local import workers
from tfx_pipeline.runners.beam.options import LOCAL_RUNNER
from tfx_pipeline.runners.local import base_run
from tfx_pipeline.runners.local.run import Display, RunOptions
from tfx_pipeline.runners.node import Outcome, State, run_node
from tfx_pipeline.runners.recording import record_outcome
from tfx_pipeline.runners.repair import repair
from tfx_pipeline.runners.schedule import Limits, run_all
from trainer import progress, strategy

log = logging.getLogger(__name__)


def execute(
    config: PipelineConfig,
    options: RunOptions,
    record: RunRecord,
    display: Display,
    create: Callable[[PipelineConfig], tfx_pipeline_lib.Pipeline],
) -> None:
    """Runs the nodes; what they did is in `record`.

    Raises:
        GateRefused: A gate did not bless.
        AssayError: A node failed: the first one's error.
        KeyboardInterrupt: Ctrl-C.
    """
    absl.logging.set_verbosity(absl.logging.INFO)
    strategy.configure_devices(config.train)
    mlmd.check_connection(config)
    if config.run.metadata.backend == "sqlite":
        database = mlmd.sqlite_path(config)
        with mlmd.holding(database):  # `run-node` processes may be at work on it.
            repair(database)
    pipeline = create(config)
    ir = ir_lib.compile_pipeline(pipeline, record.run_id)
    if options.resume is not None:
        _refuse_changed_code(ir, config)
    # A resumed run keeps the selection that it was started with.
    first, last = record.selection.get("from", []), record.selection.get("to", [])
    if first or last:
        record.base_run = record.base_run or base_run.find(config, ir, first, last)
        ir_lib.select(ir, first, last, record.base_run)
        ir_lib.take_over(ir, mlmd.handle(ir))
    graph = ir_lib.nodes(ir)
    display.nodes_known([node.id for node in graph])
    record.nodes = {node.id: record.nodes.get(node.id, NodeRecord()) for node in graph}

    watcher = _Recorder(config, record, display, options.started)
    limits = Limits(
        max_parallel_nodes=config.run.max_parallel_nodes,
        memory_per_node_mb=config.run.memory_per_node_mb,
        retries=config.run.retries,
        retry_wait_seconds=config.run.retry_wait_seconds,
    )

    def run(node_id: str) -> Outcome:
        # The listener belongs to the node's thread, so it is set here and not around `run_all`.
        with progress.listen(functools.partial(watcher.node_progressed, node_id)):
            return run_node(ir, node_id)

    try:
        with workers.expected(_helpers(pipeline.beam_pipeline_args or [])):
            outcomes = run_all(graph, run, limits, watcher)
    except KeyboardInterrupt:
        _fail_running(config, ir, record)
        watcher.interrupted()
        raise
    failed = [o.error for o in outcomes.values() if o.error is not None]
    if failed:
        raise failed[0]
    refusal = results.refusal(record)
    if refusal is not None:
        raise GateRefused(refusal, hint="Nothing was pushed. The verdict above says why.")


def _helpers(beam_args: list[str]) -> workers.Helpers | None:
    """Who helps the Beam jobs of the nodes; None where they do not run in this process."""
    options = PipelineOptions(beam_args)
    is_local = options.view_as(StandardOptions).runner == LOCAL_RUNNER
    return workers.Helpers.of(options) if is_local else None


def _refuse_changed_code(ir: pipeline_pb2.Pipeline, config: PipelineConfig) -> None:
    changed = ir_lib.changed_since(ir, mlmd.handle(ir))
    if changed:
        raise ConfigError(
            f"your code has changed since this run completed {', '.join(changed)} with it",
            where=str(config.source or config.name),
            hint="Start a new run with `assay run`: what the change does not touch is cached.",
        )


class _Recorder:
    """Writes what happens into the record and passes it on to the display."""

    def __init__(
        self, config: PipelineConfig, record: RunRecord, display: Display, started: float
    ) -> None:
        self._config = config
        self._record = record
        self._display = display
        self._started = started - record.seconds
        self._node_started: dict[str, float] = {}
        self._latest: dict[str, progress.Event] = {}

    def node_started(self, node_id: str) -> None:
        self._record.nodes[node_id].state = State.RUNNING
        self._node_started[node_id] = time.monotonic()
        self._save()
        self._display.node_started(node_id)

    def node_progressed(self, node_id: str, event: progress.Event) -> None:
        self._latest[node_id] = event
        if isinstance(event, progress.Resumed):
            self._display.node_said(node_id, progress.describe(event))
        elif isinstance(event, progress.Progress | progress.Stage):
            note = progress.describe(event)
            self._display.node_progress(node_id, event.step, event.total_steps, note)

    def node_retried(self, node_id: str, outcome: Outcome) -> None:
        self._latest.pop(node_id, None)
        [reason, *_] = str(outcome.error).splitlines()
        self._display.node_said(node_id, f"{reason}; trying again")

    def node_ended(self, outcome: Outcome) -> None:
        event = self._latest.pop(outcome.node_id, None)
        node = record_outcome(self._record, outcome, event)
        self._save()
        self._display.node_ended(outcome.node_id, node)

    def interrupted(self) -> None:
        """After Ctrl-C: says of each node that ran how far it had come."""
        for node_id, started in self._node_started.items():
            node = self._record.nodes[node_id]
            if node.outcome != "interrupted":
                continue
            node.seconds = round(time.monotonic() - started, 3)
            event = self._latest.get(node_id)
            if event is not None:
                node.note = f"at step {event.step} of {event.total_steps}"
            self._display.node_ended(node_id, node)
        self._save()

    def _save(self) -> None:
        self._record.seconds = round(time.monotonic() - self._started, 3)
        records.save(self._record, self._config.root)


def _fail_running(config: PipelineConfig, ir: pipeline_pb2.Pipeline, record: RunRecord) -> None:
    """After Ctrl-C: no execution stays RUNNING in MLMD that nobody runs."""
    with mlmd.SerializedMetadata(mlmd.connection_config(config)) as handle:
        for node_id, node in record.nodes.items():
            if node.state == State.RUNNING:
                node.state = State.FAILED
                node.outcome = "interrupted"
                node.error = "stopped by Ctrl-C"
                found = mlmd.executions(handle, ir.pipeline_info.id, record.run_id, node_id)
                mlmd.fail_active(handle, found)
