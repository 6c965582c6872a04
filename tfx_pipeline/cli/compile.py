"""`assay compile`: the config's pipeline as the files that another runner takes."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tfx_pipeline.cli.run import ConfigPath

if TYPE_CHECKING:
    from tfx_pipeline.config.pipeline import PipelineConfig
    from tfx_pipeline.runners.compiled import Compiled


class Target(enum.StrEnum):
    """Who runs what is compiled."""

    AIRFLOW = "airflow"
    VERTEX = "vertex"
    IR = "ir"


def compile_(
    config: ConfigPath = Path("pipeline.yaml"),
    to: Annotated[
        Target, typer.Option("--to", help="`ir`: the pipeline alone, for `assay run-node`.")
    ] = Target.IR,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write to.", file_okay=False)
    ] = Path("compiled"),
) -> None:
    """Write the pipeline for Airflow, Vertex AI and Kubeflow, or any runner of commands."""
    from tfx_pipeline.cli import hints
    from tfx_pipeline.cli.display import show_choice
    from tfx_pipeline.config import load_config
    from tfx_pipeline.runners.beam.choice import choose
    from tfx_pipeline.runners.calm import calm_terminal
    from tfx_pipeline.runners.compiled import compile_config

    pipeline = load_config(config)
    with calm_terminal(Path(os.devnull)):  # TFX's import is not silent.
        way = _way(to)
        compiled = compile_config(way.check(pipeline))
        written = way.write(compiled, output)
    console = Console(highlight=False)
    show_choice(console, choose(compiled.config))
    for path in written:
        console.print(f"  {hints.shown(path)}", soft_wrap=True)
    console.print(f"Next: {way.then(compiled, written)}", soft_wrap=True)


@dataclass(frozen=True)
class _Way:
    """What compiling for a target takes.

    Attributes:
        check: Raises where the config cannot run there; the config as the nodes will have it.
        write: Writes the files into a folder.
        then: What to do with them, in one line.
    """

    check: Callable[[PipelineConfig], PipelineConfig]
    write: Callable[[Compiled, Path], list[Path]]
    then: Callable[[Compiled, list[Path]], str]


def _way(to: Target) -> _Way:
    match to:
        case Target.AIRFLOW:
            from tfx_pipeline.runners.airflow import compile as airflow

            return _Way(airflow.checked, airflow.write_dag, _then_airflow)
        case Target.VERTEX:
            from tfx_pipeline.runners.vertex import compile as vertex

            return _Way(vertex.checked, vertex.write_spec, _then_vertex)
        case Target.IR:
            from tfx_pipeline.runners import compiled

            return _Way(_checked, compiled.write_to, _then_ir)


def _checked(config: PipelineConfig) -> PipelineConfig:
    from tfx_pipeline.lint import lint

    lint(config)
    return config


def _then_airflow(compiled: Compiled, _: list[Path]) -> str:
    dag_id = compiled.config.run.airflow.dag_id or compiled.config.name
    return f"put both where Airflow reads DAGs, then [bold]airflow dags unpause {dag_id}[/]"


def _then_vertex(compiled: Compiled, written: list[Path]) -> str:
    from tfx_pipeline.cli import hints

    if compiled.config.run.vertex.kubeflow is not None:
        return "upload the YAML to Kubeflow Pipelines; docs/vertex.md has the commands"
    [job] = [path for path in written if path.name.endswith(".vertex.json")]
    return f"[bold]assay submit {hints.shown(job)}[/]"


def _then_ir(compiled: Compiled, written: list[Path]) -> str:
    from tfx_pipeline.cli import hints

    first = compiled.ir.nodes[0].pipeline_node.node_info.id
    return f"[bold]assay run-node {hints.shown(written[0])} --node {first} --run-id NAME[/]"
