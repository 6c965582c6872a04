"""`assay trials`: what the Tuner has tried."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tfx_pipeline.cli import hints, tables
from tfx_pipeline.cli.runs import ConfigOption, Json

if TYPE_CHECKING:
    from trainer.tuning.journal import Trial

_STYLES = {"pruned": "yellow", "failed": "red"}


def trials(
    run: Annotated[
        str, typer.Argument(help="A run's id, the start of it, or `latest`.")
    ] = "latest",
    config: ConfigOption = Path("pipeline.yaml"),
    top: Annotated[int, typer.Option("--top", min=0, help="Only so many; 0: all.")] = 0,
    json: Json = False,
) -> None:
    """Print the table of the Tuner's trials, the best first."""
    import dataclasses
    from json import dumps

    from tfx_pipeline.config import load_config
    from tfx_pipeline.report.trials import trials_of
    from trainer.tuning.journal import PLOT_FILE, summary

    root = load_config(config).root
    with hints.naming(config):
        folder, found = trials_of(root, run)
    if json:
        typer.echo(dumps(dataclasses.asdict(found), indent=1))
        return
    console = tables.output_console()
    shown = found.trials[:top] if top else found.trials
    paths = list(dict.fromkeys(path for trial in shown for path in trial.values))
    budgeted = list(dict.fromkeys(name for trial in shown for name in trial.exceeds))
    figures = list(dict.fromkeys([found.metric, *budgeted]))
    numbers = ("rank", *figures, "steps", "seconds")
    table = tables.table("rank", "trial", *paths, *figures, "steps", "seconds", "", right=numbers)
    for trial in shown:
        table.add_row(*_row(trial, paths, figures))
    tables.show(console, table)
    if len(shown) < len(found.trials):
        console.print(f"[dim]and {len(found.trials) - len(shown)} more[/]")
    console.print(f"  {escape(summary(found))}", soft_wrap=True)
    if (folder / PLOT_FILE).exists():
        console.print(f"  [dim]plot[/]  {escape(str(folder / PLOT_FILE))}", soft_wrap=True)


def _row(trial: Trial, paths: list[str], figures: list[str]) -> list[str]:
    from trainer.tuning.journal import shown

    values = [escape(shown(trial.values[path])) if path in trial.values else "" for path in paths]
    measured = [
        f"{trial.measured[name]:.6g}" if name in trial.measured else "-" for name in figures
    ]
    words = [trial.state if trial.state != "complete" else "", "the config's own" * trial.own]
    if trial.exceeds:
        words.append(f"over {', '.join(trial.exceeds)}")
    words.append(trial.reason)
    said = escape(", ".join(word for word in words if word))
    style = _STYLES.get(trial.state, "")
    return [
        str(trial.rank or "-"),
        trial.id,
        *values,
        *measured,
        str(trial.steps),
        f"{trial.seconds:.1f}",
        f"[{style}]{said}[/]" if style else said,
    ]
