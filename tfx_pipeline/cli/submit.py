"""`assay submit`: runs the pipeline on Vertex AI, and waits for its verdict."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from tfx_pipeline.config.pipeline import PipelineConfig
    from tfx_pipeline.config.vertex import VertexConfig
    from tfx_pipeline.report.record import RunRecord
    from tfx_pipeline.runners.compiled import Compiled
    from tfx_pipeline.runners.vertex.submit import Jobs, JobSeen

_SPEC = ".vertex.json"


def submit(
    pipeline: Annotated[
        Path,
        typer.Argument(
            help="The config (or its folder), or what `assay compile --to vertex` made of it: "
            "NAME.vertex.json, with NAME.ir.json beside it."
        ),
    ] = Path("pipeline.yaml"),
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the end and print the verdict.")
    ] = True,
    cancel: Annotated[
        str, typer.Option(metavar="JOB", help="Cancel this job instead of starting one.")
    ] = "",
    poll_seconds: Annotated[float, typer.Option(min=0.05, hidden=True)] = 10,
) -> None:
    """Run the pipeline on Vertex AI: upload, create the job, wait, print the verdict.

    Ends with 5 when a gate refused, with 6 when a node failed or the job was cancelled. Ctrl-C ends
    the waiting, not the job.
    """
    from tfx_pipeline.cli import hints
    from tfx_pipeline.runners.vertex.submit import Jobs

    console = Console(highlight=False, soft_wrap=True)
    if cancel:
        Jobs(_vertex(pipeline)).cancel(cancel)
        console.print(f"asked Vertex to cancel {cancel}; running containers get SIGTERM")
        return
    compiled, job, ir_text = _read(pipeline)
    config = compiled.config
    jobs = Jobs(config.run.vertex)
    job_id = _start(config, job, ir_text, jobs)
    console.print(f"[bold]{escape(config.name)}[/]  job {job_id}")
    console.print(f"  {jobs.link(job_id)}")
    if not wait:
        return
    try:
        nodes = [node.pipeline_node.node_info.id for node in compiled.ir.nodes]
        seen = _watch(console, jobs, job_id, nodes, poll_seconds)
    except KeyboardInterrupt:
        typed = hints.as_typed(pipeline)
        console.print(
            "stopped waiting; the job goes on. Cancel it with "
            f"[bold]{f'assay submit {typed}'.rstrip()} --cancel {job_id}[/]"
        )
        raise
    _judge(console, config, job_id, seen, jobs.link(job_id))


def _read(path: Path) -> tuple[Compiled, dict[str, Any], str]:
    """The compiled pipeline, the PipelineJob, and the text of the former's file."""
    from tfx_pipeline.errors import ConfigError
    from tfx_pipeline.runners.calm import calm_terminal

    if not path.name.endswith(_SPEC):
        config = _config(path)
        with calm_terminal(Path(os.devnull)):  # TFX's import is not silent.
            from tfx_pipeline.runners.compiled import compile_config, to_json
            from tfx_pipeline.runners.vertex.compile import checked, job

            compiled = compile_config(checked(config))
        text = to_json(compiled)
        return compiled, job(compiled, text), text
    from tfx_pipeline.runners import compiled as compiled_lib
    from tfx_pipeline.runners.vertex import paths

    ir_file = _ir_file(path)
    with calm_terminal(Path(os.devnull)):
        compiled = compiled_lib.read(ir_file)
    ir_text = ir_file.read_text(encoding="utf-8")
    spec = path.read_text(encoding="utf-8") if path.exists() else ""
    if paths.mounted(paths.ir_address(compiled.config, ir_text)) not in spec:
        raise ConfigError(
            f"it was not compiled with the {ir_file.name} beside it",
            where=str(path),
            hint="Compile both again: `assay compile --to vertex`.",
        )
    return compiled, json.loads(spec), ir_text


def _ir_file(path: Path) -> Path:
    """What was written beside NAME.vertex.json."""
    return path.with_name(path.name.removesuffix(_SPEC) + ".ir.json")


def _vertex(path: Path) -> VertexConfig:
    """`run.vertex` of a config, or of what was compiled."""
    if not path.name.endswith(_SPEC):
        return _config(path).run.vertex
    from tfx_pipeline.runners import compiled as compiled_lib
    from tfx_pipeline.runners.calm import calm_terminal

    with calm_terminal(Path(os.devnull)):
        return compiled_lib.read(_ir_file(path)).config.run.vertex


def _config(path: Path) -> PipelineConfig:
    from tfx_pipeline.config import load_config
    from tfx_pipeline.errors import ConfigError

    config = load_config(path)
    if config.run.vertex.kubeflow is not None:
        raise ConfigError(
            "run.vertex.kubeflow compiles for Kubeflow Pipelines, which has its own client",
            where=config.place("run.vertex.kubeflow"),
            hint="Compile with `assay compile --to vertex` and upload NAME.pipeline.yaml; "
            "docs/vertex.md has the commands.",
        )
    return config


def _start(config: PipelineConfig, job: dict[str, Any], ir_text: str, jobs: Jobs) -> str:
    from tfx_pipeline.runners.vertex import paths, storage
    from tfx_pipeline.runners.vertex.spec import pipeline_name

    storage.write_new(paths.ir_address(config, ir_text), ir_text, config.run.vertex.project)
    now = datetime.now(UTC)
    fraction = f"{now.microsecond * 2**16 // 10**6:04x}"
    job_id = f"{pipeline_name(config)}-{now:%Y%m%d-%H%M%S}-{fraction}"
    jobs.create(job, job_id)
    return job_id


_SAID = {
    "SUCCEEDED": "[green]✓[/]",
    "SKIPPED": "[green]✓[/]",
    "FAILED": "[red]✗[/]",
    "CANCELLED": "[yellow]–[/]",
    "NOT_TRIGGERED": "[yellow]–[/]",
}


def _watch(
    console: Console, jobs: Jobs, job_id: str, tasks: list[str], poll_seconds: float
) -> JobSeen:
    """A line for each task that has ended, and what runs meanwhile. Vertex lists the pipeline as a
    whole among its tasks; that one is left out."""
    told: set[str] = set()
    width = max(map(len, tasks))

    def changed(seen: JobSeen) -> None:
        running = []
        for name in tasks:
            task = seen.tasks.get(name)
            if task is None or name in told:
                continue
            if task.state not in _SAID:
                running += [name] if task.state == "RUNNING" else []
                continue
            told.add(name)
            # The tasks behind a gate that refused are not started.
            note = "skipped" if task.state == "NOT_TRIGGERED" else ""
            note = task.state.lower() if task.state in ("FAILED", "CANCELLED") else note
            seconds = f"{task.seconds:7.0f} s" if not note else " " * 9
            line = f"  {_SAID[task.state]} {name:<{width}} {seconds}  {note}"
            console.print(line.rstrip())
        what = ", ".join(running) or seen.state.lower()
        status.update(f"{len(told)} of {len(tasks)} nodes: {what}")

    with console.status("waiting for Vertex") as status:
        seen = jobs.wait(job_id, poll_seconds, changed)
    return replace(seen, tasks={name: seen.tasks[name] for name in tasks if name in seen.tasks})


def _judge(console: Console, config: PipelineConfig, job_id: str, seen: JobSeen, link: str) -> None:
    """Prints the verdict. Raises GateRefused, NodeFailed, or EnvironmentMismatch without it."""
    from tfx_pipeline.cli.running import print_verdicts
    from tfx_pipeline.errors import EnvironmentMismatch, GateRefused, NodeFailed
    from tfx_pipeline.report.record import RECORD_FILE

    record = _record(config, job_id)
    if record is not None:
        print_verdicts(console, record, all_gates=False)
        if record.pushed_to:
            console.print(f"  [dim]model [/]{record.pushed_to}")
        console.print(f"  [dim]run   [/]{config.run.root}/{job_id}")
    if seen.state != "SUCCEEDED":
        failed = [task for task in seen.tasks.values() if task.state == "FAILED"]
        what = "was cancelled" if seen.state == "CANCELLED" else "failed"
        at = ", ".join(task.name for task in failed)
        reasons = [record.error if record else "", *(task.error for task in failed), seen.error]
        reason = next(filter(None, reasons), "")
        raise NodeFailed(
            f"the job {what}" + (f" at {at}" if at else "") + (f": {reason}" if reason else ""),
            where=link,
            hint="Mend the cause and submit again: what is done is taken from the cache.",
        )
    skipped = [task.name for task in seen.tasks.values() if task.state == "NOT_TRIGGERED"]
    if record is not None and record.state == "refused":
        raise GateRefused(record.error, hint="Nothing was pushed. The verdict above says why.")
    if skipped:
        raise GateRefused(f"{', '.join(skipped)} did not run, for a gate before them refused")
    if record is None:
        raise EnvironmentMismatch(
            "the job has succeeded, but what its gates said cannot be read",
            where=f"{_folder(config, job_id)}/{RECORD_FILE}",
            hint="Does run.root name the bucket, and may you read it? `assay show` on a machine "
            "that has it mounted knows the verdict.",
        )


def _record(config: PipelineConfig, job_id: str) -> RunRecord | None:
    """The run's record, from the bucket; None where no node got as far as writing it."""
    from pydantic import ValidationError

    from tfx_pipeline.report.record import RECORD_FILE, RunRecord
    from tfx_pipeline.runners.vertex import storage

    address = f"{_folder(config, job_id)}/{RECORD_FILE}"
    text = storage.read(address, config.run.vertex.project)
    try:
        return RunRecord.model_validate_json(text) if text else None
    except ValidationError:
        return None


def _folder(config: PipelineConfig, job_id: str) -> str:
    """Where the bucket has the run."""
    from tfx_pipeline.runners.vertex import paths

    return f"{paths.unmounted(config.run.root).rstrip('/')}/{job_id}"
