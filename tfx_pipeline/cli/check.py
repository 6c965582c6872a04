"""`assay check` and `assay schema`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tfx_pipeline.cli.run import ConfigPath


def check(
    config: ConfigPath = Path("pipeline.yaml"),
) -> None:
    """Check a config and what it names before anything runs."""
    from tfx_pipeline.config import load_config
    from tfx_pipeline.lint import checks, lint
    from tfx_pipeline.runners.calm import calm_terminal

    pipeline = load_config(config)
    with calm_terminal(Path(os.devnull)):  # Importing the user's functions may import TensorFlow.
        lint(pipeline)
    Console(highlight=False).print(
        f"[green]✓[/] {pipeline.source}: {len(checks())} checks passed. "
        f"Next: [bold]assay run {config}[/]",
        soft_wrap=True,
    )


def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it here; else it is printed.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="As a reference for people: a table a section.")
    ] = False,
) -> None:
    """Print the config's JSON schema, for editors that complete and check YAML."""
    from tfx_pipeline.config import PipelineConfig
    from tfx_pipeline.files import write_text

    if markdown:
        from tfx_pipeline.config.reference import reference

        text = reference()
    else:
        document = PipelineConfig.model_json_schema()
        document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        text = json.dumps(document, indent=2) + "\n"
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)
