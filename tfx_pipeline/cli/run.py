"""`assay run`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

ConfigPath = Annotated[
    Path, typer.Argument(help="The pipeline's config, or the folder that holds pipeline.yaml.")
]
NodeList = Annotated[list[str] | None, typer.Option(metavar="NODE", help="May be repeated.")]

_PROFILED_STEPS = 20


def run(
    config: ConfigPath = Path("pipeline.yaml"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the latest run that did not end.")
    ] = False,
    run_id: Annotated[
        str, typer.Option("--run-id", help="With --resume: the run, instead of the latest.")
    ] = "",
    from_node: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="NODE", help="Run this node and what follows it."),
    ] = None,
    to_node: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="NODE", help="Run up to and with this node."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NODE", help="Run this node alone; reuse the rest."),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Run every node, whatever has been run before.")
    ] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Profile steps of the Trainer for TensorBoard."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the verdict and errors.")
    ] = False,
) -> None:
    """Run the pipeline: from raw data to a pushed model."""
    from tfx_pipeline.cli.running import run_shown
    from tfx_pipeline.config import load_config
    from tfx_pipeline.errors import ConfigError
    from tfx_pipeline.runners.local.run import RunOptions

    started = time.monotonic()
    if run_id and not resume:
        raise ConfigError("--run-id goes with --resume")
    if only and (from_node or to_node):
        raise ConfigError("--only says it all", hint="Leave out --from and --to.")
    pipeline = load_config(config)
    if no_cache:
        pipeline = pipeline.with_run(cache=False)
    if profile and not pipeline.train.profile_steps:
        pipeline = pipeline.with_train(profile_steps=_PROFILED_STEPS)
    options = RunOptions(
        resume=run_id if resume else None,
        from_nodes=list(only or from_node or []),
        to_nodes=list(only or to_node or []),
        started=started,
    )
    run_shown(pipeline, options, quiet=quiet)
