"""`assay image`: what to build the nodes' container image from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tfx_pipeline.cli.run import ConfigPath


def image(
    config: ConfigPath = Path("pipeline.yaml"),
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write to.", file_okay=False)
    ] = Path("image"),
    gpu: Annotated[bool, typer.Option("--gpu", help="With CUDA for TensorFlow.")] = False,
) -> None:
    """Write a Dockerfile and its context: Assay, its lock, and the folder of the config."""
    import shlex

    from tfx_pipeline.cli import hints
    from tfx_pipeline.config import load_config
    from tfx_pipeline.runners.vertex.image import write_context

    pipeline = load_config(config)
    context = write_context(pipeline, output, gpu=gpu)
    tag = pipeline.run.vertex.image or "REGION-docker.pkg.dev/PROJECT/REPOSITORY/assay:1"
    folder = shlex.quote(hints.shown(output))
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"  {hints.shown(context.dockerfile)}, with {context.megabytes:.1f} MB beside it")
    console.print("\nBuild and push it with Docker:")
    console.print(f"  docker build --platform linux/amd64 -t {tag} {folder}")
    console.print(f"  docker push {tag}")
    console.print("or in Google Cloud:")
    console.print(f"  gcloud builds submit --timeout 3600 --tag {tag} {folder}")
    if not pipeline.run.vertex.image:
        console.print("\nThen set [bold]run.vertex.image[/] to the address.")
