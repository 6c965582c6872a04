"""`assay compile`: the config's pipeline as the files that another runner takes."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tfx_pipeline.cli.run import ConfigPath

if TYPE_CHECKING:
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
    from tfx_pipeline.config import load_config
    from tfx_pipeline.lint import lint
    from tfx_pipeline.runners.calm import calm_terminal

    pipeline = load_config(config)
    with calm_terminal(Path(os.devnull)):  # TFX's import is not silent.
        if to == Target.VERTEX:
            from tfx_pipeline.runners.vertex.compile import checked as checked_for_vertex

            pipeline = checked_for_vertex(pipeline)
        elif to == Target.AIRFLOW:
            from tfx_pipeline.runners.airflow.compile import checked as checked_for_airflow

            pipeline = checked_for_airflow(pipeline)
        else:
            lint(pipeline)
        from tfx_pipeline.runners.compiled import compile_config

        compiled = compile_config(pipeline)
        written = _writer(to)(compiled, output)
    console = Console(highlight=False)
    for path in written:
        console.print(f"  {hints.shown(path)}", soft_wrap=True)


def _writer(to: Target) -> Callable[[Compiled, Path], list[Path]]:
    match to:
        case Target.AIRFLOW:
            from tfx_pipeline.runners.airflow.compile import write_dag

            return write_dag
        case Target.VERTEX:
            from tfx_pipeline.runners.vertex.compile import write_spec

            return write_spec
        case Target.IR:
            from tfx_pipeline.runners.compiled import write_to

            return write_to
