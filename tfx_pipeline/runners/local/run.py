"""One local run, from its config to its record."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import INTERRUPTED_EXIT_CODE, AssayError, ConfigError, GateRefused
from tfx_pipeline.files import write_text
from tfx_pipeline.report import provenance
from tfx_pipeline.report import record as records
from tfx_pipeline.report.record import RunRecord
from tfx_pipeline.runners.local import folder

if TYPE_CHECKING:
    from tfx.dsl import Pipeline

log = logging.getLogger(__name__)

CreatePipeline = Callable[[PipelineConfig], "Pipeline"]


@dataclass(frozen=True)
class RunOptions:
    """What to run.

    Attributes:
        resume: A run's id, or empty for the latest unfinished one; None for a new run.
        from_nodes: First nodes to run; empty: from the start.
        to_nodes: Last nodes to run; empty: to the end.
        started: When the command began (`time.monotonic()`): a run's seconds count from there, with
            the imports.
    """

    resume: str | None = None
    from_nodes: list[str] = field(default_factory=list)
    to_nodes: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def is_partial(self) -> bool:
        """Whether some nodes are left out."""
        return bool(self.from_nodes or self.to_nodes)


class Display(Protocol):
    """Shows a run to a person."""

    def nodes_known(self, node_ids: list[str]) -> None: ...

    def node_started(self, node_id: str) -> None: ...

    def node_ended(self, node_id: str, record: records.NodeRecord) -> None: ...

    # These two may be called from the node's own thread, the others from the pipeline's only.
    def node_progress(self, node_id: str, done: int, total: int, note: str) -> None: ...

    def node_said(self, node_id: str, text: str) -> None: ...


def run_pipeline(
    config: PipelineConfig,
    options: RunOptions,
    display: Display,
    create: CreatePipeline | None = None,
) -> RunRecord:
    """Runs the pipeline in this process.

    Args:
        config: The pipeline.
        options: New run, resumed run, or a part of the graph.
        display: Is told of the progress.
        create: Makes the TFX pipeline from the config; None: `tfx_pipeline.graph.create_pipeline`.

    Returns:
        The record of a run that ended in order.

    Raises:
        GateRefused: A gate did not bless; the run has ended in order.
        AssayError: A node failed; the record says which.
        KeyboardInterrupt: Ctrl-C; nodes' threads may still be running, so the caller must end
            the process.
    """
    with opened(config, options) as record:
        go(config, options, record, display, create)
    return record


def go(
    config: PipelineConfig,
    options: RunOptions,
    record: RunRecord,
    display: Display,
    create: CreatePipeline | None = None,
) -> None:
    """Runs the nodes of an opened run. Raises as `run_pipeline`."""
    # TFX takes seconds to import: only after everything cheap has been checked.
    from tfx_pipeline.runners.local.execute import execute

    if create is None:
        from tfx_pipeline.graph import create_pipeline

        create = create_pipeline
    try:
        execute(config, options, record, display, create)
    except AssayError:
        raise
    except Exception:
        log.exception("a defect of Assay")
        raise


@contextlib.contextmanager
def opened(config: PipelineConfig, options: RunOptions) -> Iterator[RunRecord]:
    """Holds the folder, makes the run's record, and keeps it true however the run ends.

    Raises:
        Busy: Another run holds the folder.
        StorageError: The folder cannot be written.
        ConfigError: There is nothing to resume, or the config has changed since.
    """
    if options.resume is not None and options.is_partial:
        raise ConfigError(
            "--resume goes on with the nodes of its run", hint="Leave out --from, --to and --only."
        )
    with folder.held(config.root):
        record = _record(config, options)
        write_text(
            config.root / record.run_id / records.CONFIG_FILE, provenance.resolved_yaml(config)
        )
        with _recorded(record, config, options.started - record.seconds):
            yield record


def _record(config: PipelineConfig, options: RunOptions) -> RunRecord:
    digest = provenance.config_digest(config)
    if options.resume is None:
        return RunRecord(
            run_id=folder.new_run_id(),
            pipeline=config.name,
            started=records.now(),
            selection={"from": options.from_nodes, "to": options.to_nodes},
            model_name=config.model_name,
            config_digest=digest,
            config_file=str(config.source or ""),
            git_commit=provenance.git_commit(config.folder),
            versions=provenance.versions(),
        )
    before = folder.resumable(config.root, config.name, options.resume)
    if before.config_digest != digest:
        raise ConfigError(
            f"the config has changed since run {before.run_id} started",
            where=str(config.source or "pipeline.yaml"),
            hint="Start a new run with `assay run`: what the change does not touch is cached. "
            f"Or undo the change; the run's config is in {before.run_id}/{records.CONFIG_FILE}.",
        )
    fresh = RunRecord(run_id=before.run_id, pipeline=before.pipeline, started=before.started)
    return before.model_copy(
        update={
            "state": "running",
            "error": "",
            "exit_code": None,
            "ended": None,
            "host": fresh.host,
            "pid": fresh.pid,
            "process_started": fresh.process_started,
        }
    )


@contextlib.contextmanager
def _recorded(record: RunRecord, config: PipelineConfig, started: float) -> Iterator[None]:
    """Keeps the record true however the run ends."""

    def end(state: records.RunState, code: int, error: str) -> None:
        record.seconds = round(time.monotonic() - started, 3)
        _end(record, config, state, code, error)

    records.save(record, config.root)
    try:
        yield
    except KeyboardInterrupt:
        end("interrupted", INTERRUPTED_EXIT_CODE, "stopped by Ctrl-C")
        raise
    except GateRefused as refusal:
        end("refused", refusal.exit_code, refusal.headline)
        raise
    except AssayError as error:
        end("failed", error.exit_code, str(error))
        raise
    except BaseException as error:
        end("failed", 1, f"{type(error).__name__}: {error}")
        raise
    end("complete", 0, "")


def _end(
    record: RunRecord, config: PipelineConfig, state: records.RunState, code: int, error: str
) -> None:
    record.state, record.exit_code, record.error = state, code, error
    record.ended = records.now()
    try:
        records.save(record, config.root)
    except AssayError as failure:
        # Outside of the run's log, so this is a line on the terminal: no traceback.
        log.warning("the run's end could not be recorded: %s", failure.headline)
        if state == "complete":
            raise
