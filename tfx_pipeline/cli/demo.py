"""`assay demo`: a template from raw rows to served answers, in one command."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer


def demo(
    template: Annotated[str, typer.Argument(help="Name of a template.")] = "taxi",
    folder: Annotated[
        Path | None, typer.Option(help="Where to put it; default: a folder of the template's name.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Held-out rows to ask the server for.")] = 5,
) -> None:
    """Run a template: raw rows, a gated model, a server, answers beside the truth."""
    from tfx_pipeline.cli.asking import ask
    from tfx_pipeline.cli.running import run_shown
    from tfx_pipeline.config import load_config
    from tfx_pipeline.runners.local.run import RunOptions
    from tfx_pipeline.templates.copy import copy_template
    from tfx_pipeline.terminal import Terminal

    target = copy_template(template, folder or Path(template))
    config = load_config(target)
    record = run_shown(config, RunOptions())
    console = Terminal(highlight=False)
    ask(config, record, console, rows=rows)
    assay, where = _this_command(), target.parent
    steps = [
        (f"{assay} serve -c {where}", "serve the pushed model on port 8500"),
        (f"{assay} show -c {where}", "this run in full"),
        (f"{assay} run {where}", "again: every node is cached"),
        (f"{assay} init --list-templates", "other demos"),
        (f"{assay} init --data my.csv --label COLUMN", "your own data"),
    ]
    width = max(len(command) for command, _ in steps)
    console.print("\nNext:")
    for command, what in steps:
        console.print(f"  {command:<{width}}  [dim]{what}[/]", soft_wrap=True)


def _this_command() -> str:
    """How this command is called from here: `make run` has not activated the environment."""
    if shutil.which("assay"):
        return "assay"
    called = Path(sys.executable).with_name("assay")
    with contextlib.suppress(ValueError):
        called = called.relative_to(Path.cwd())
    return str(called)
