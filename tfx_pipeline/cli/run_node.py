"""`assay run-node`: one node of a compiled pipeline, for runners that start nodes by a command."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tfx_pipeline.errors import SKIPPED_EXIT_CODE, AssayError

if TYPE_CHECKING:
    from rich.console import Console

    from tfx_pipeline.report.record import RunRecord
    from tfx_pipeline.runners.compiled import Compiled
    from tfx_pipeline.runners.node import Outcome
    from trainer import progress

# Set for the process that takes this one's place, with the real TensorFlow.
_EXECUTES = "ASSAY_RUN_NODE_EXECUTES"


def run_node(
    compiled: Annotated[
        Path, typer.Argument(help="What `assay compile` wrote: NAME.ir.json.", show_default=False)
    ],
    node: Annotated[str, typer.Option("--node", help="Id of the node.", show_default=False)],
    run_id: Annotated[
        str,
        typer.Option(
            "--run-id", help="Names the run; the same for all its nodes.", show_default=False
        ),
    ],
    runner: Annotated[str, typer.Option(help="Who runs the nodes, for `assay runs`.")] = "run-node",
    skip_exit_code: Annotated[
        int, typer.Option(min=0, max=255, help="Exit code where a gate before the node refused.")
    ] = SKIPPED_EXIT_CODE,
) -> None:
    """Run one node of a compiled pipeline: what Airflow's tasks and Vertex's containers call.

    Ends with 0 when the node is complete, or cached, or was complete in this run already.
    """
    from tfx_pipeline.runners import placeholders, workers

    _check_run_id(run_id)
    if workers.is_follower():
        _follow(compiled, node, run_id)
        return
    with workers.leading(compiled, node, run_id):
        if os.environ.pop(_EXECUTES, "") == "1":
            _execute(compiled, node, run_id, runner, skip_exit_code)
            return
        placeholders.install()
        if not _ended_without_tensorflow(compiled, node, run_id, runner, skip_exit_code):
            sys.stdout.flush()
            os.environ[_EXECUTES] = "1"
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _follow(path: Path, node: str, run_id: str) -> None:
    """Helps another replica, the chief, to train; see `runners/workers.py`."""
    import absl.logging

    from tfx_pipeline.runners import compiled as compiled_lib
    from tfx_pipeline.runners import workers
    from tfx_pipeline.runners.calm import calm_terminal
    from trainer import strategy

    found = compiled_lib.read(path)
    log = compiled_lib.log_file(found, run_id, f"{node}.{workers.own_name()}")
    with calm_terminal(log) as console:
        console.print(f"{node} waits for the chief; its log is {log}", soft_wrap=True)
        absl.logging.set_verbosity(absl.logging.INFO)
        strategy.configure_devices(found.config.train)
        workers.follow(found, node, run_id)
        console.print(f"{node}: this replica is done", soft_wrap=True)


def _check_run_id(run_id: str) -> None:
    from tfx_pipeline.errors import ConfigError

    if not run_id or run_id != os.path.basename(run_id) or run_id.startswith("."):
        raise ConfigError(
            f"{run_id!r} cannot name a run: a folder below run.root gets that name",
            where="--run-id",
        )


def _ended_without_tensorflow(
    path: Path, node: str, run_id: str, runner: str, skip_exit_code: int
) -> bool:
    """Whether the node is done: it needed no executor (it is cached, skipped, complete, or a
    resolver), or has one that does without TensorFlow."""
    from tfx_pipeline.runners import compiled as compiled_lib
    from tfx_pipeline.runners.calm import calm_terminal

    compiled = compiled_lib.read(path)
    log = compiled_lib.log_file(compiled, run_id, node)
    outcome, record = None, None
    with calm_terminal(log) as console:
        try:
            outcome, record = _cached(compiled, node, run_id, runner)
            if outcome is None and node in compiled.light:
                from tfx_pipeline.runners.lone_node import run_lone_node

                _tell_start(console, node, log)
                outcome, record = run_lone_node(compiled, node, run_id, runner=runner)
        except AssayError:
            raise
        except Exception:  # Whatever stand-ins cannot do, the real packages can.
            logging.info("%s cannot be answered without TensorFlow", node, exc_info=True)
        if outcome is None or record is None:
            return False
        _tell(console, outcome, record)
    if outcome.error is not None:
        raise outcome.error
    _leave(outcome, skip_exit_code)
    return True


def _cached(
    compiled: Compiled, node: str, run_id: str, runner: str
) -> tuple[Outcome | None, RunRecord | None]:
    from tfx_pipeline.runners.lone_node import NotCached, run_lone_node

    try:
        return run_lone_node(compiled, node, run_id, runner=runner, execute=False)
    except NotCached:
        return None, None


def _execute(path: Path, node: str, run_id: str, runner: str, skip_exit_code: int) -> None:
    from tfx_pipeline.runners import compiled as compiled_lib
    from tfx_pipeline.runners.calm import calm_terminal

    compiled = compiled_lib.read(path)
    log = compiled_lib.log_file(compiled, run_id, node)
    with calm_terminal(log) as console:
        _tell_start(console, node, log)
        import absl.logging

        from tfx_pipeline.runners import workers
        from tfx_pipeline.runners.lone_node import run_lone_node
        from trainer import strategy

        absl.logging.set_verbosity(absl.logging.INFO)
        strategy.configure_devices(compiled.config.train)
        outcome, record = run_lone_node(
            compiled,
            node,
            run_id,
            runner=runner,
            listener=_teller(console),
            operators=workers.operators(compiled, node, run_id),
        )
        _tell(console, outcome, record)
    if outcome.error is not None:
        raise outcome.error
    _leave(outcome, skip_exit_code)


def _tell_start(console: Console, node: str, log: Path) -> None:
    console.print(f"{node} runs; its log is {log}", soft_wrap=True)


def _teller(console: Console) -> progress.Listener:
    from trainer import progress

    def tell(event: progress.Event) -> None:
        """Prints what is worth a line in an orchestrator's log."""
        if not isinstance(event, progress.Progress):
            console.print(f"  {escape(progress.describe(event))}", soft_wrap=True)
        elif event.epoch_end:
            said = progress.describe(event)
            console.print(f"  step {event.step} of {event.total_steps}: {said}", soft_wrap=True)

    return tell


def _tell(console: Console, outcome: Outcome, record: RunRecord) -> None:
    node = record.nodes[outcome.node_id]
    said = ", ".join(word for word in (outcome.state.value, node.outcome) if word)
    line = f"{outcome.node_id} {said}, {outcome.seconds:.1f} s"
    console.print(escape(f"{line}: {node.note}" if node.note else line), soft_wrap=True)
    verdict = record.verdicts.get(outcome.node_id)
    if verdict and not verdict.get("blessed"):
        console.print(f"  refused: {escape(str(verdict.get('reason')))}", soft_wrap=True)
    for artifacts in node.artifacts.values():
        for artifact in artifacts:
            console.print(f"  {artifact.type} {escape(artifact.uri)}", soft_wrap=True)


def _leave(outcome: Outcome, skip_exit_code: int) -> None:
    if outcome.state == "skipped":
        raise typer.Exit(skip_exit_code)
