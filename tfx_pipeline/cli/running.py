"""Runs a pipeline in front of a person: a line a node, the verdict, where everything lies."""

from __future__ import annotations

import json
import os
from pathlib import Path

from rich.console import Console, RenderableType
from rich.markup import escape

from tfx_pipeline.cli import hints
from tfx_pipeline.cli.display import RunDisplay, show_choice
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.gates.render import render
from tfx_pipeline.gates.verdict import Verdict
from tfx_pipeline.lint import lint
from tfx_pipeline.report import record as records
from tfx_pipeline.report.record import RunRecord
from tfx_pipeline.runners import names
from tfx_pipeline.runners.beam.choice import choose
from tfx_pipeline.runners.calm import calm_terminal
from tfx_pipeline.runners.local.run import RunOptions, go, opened


def run_shown(config: PipelineConfig, options: RunOptions, *, quiet: bool = False) -> RunRecord:
    """Checks, runs and reports; everything else that is printed goes to the run's log.

    Raises:
        AssayError: As `run_pipeline`.
    """
    source = config.source or config.folder
    with hints.naming(source):
        names.check([*options.from_nodes, *options.to_nodes], names.node_ids(config))
        # Importing the user's functions may import TensorFlow.
        with calm_terminal(Path(os.devnull)):
            lint(config)
        beam = choose(config)
        with opened(config, options) as record:
            log_file = config.root / record.run_id / records.LOG_FILE
            with calm_terminal(log_file) as console, hints.naming(source):
                show_choice(console, beam, quiet=quiet)
                try:
                    with RunDisplay(console, record, quiet=quiet) as display:
                        go(config, options, record, display)
                except KeyboardInterrupt:
                    again = f"assay run --resume {hints.as_typed(source)}".rstrip()
                    console.print(f"stopped by Ctrl-C; go on with [bold]{again}[/]", soft_wrap=True)
                    raise
                finally:
                    show_end(console, config, record)
    return record


def show_end(console: Console, config: PipelineConfig, record: RunRecord) -> None:
    """The verdicts, and where everything lies."""
    print_verdicts(console, record, all_gates=False)
    folder = hints.shown(config.root / record.run_id)
    rows = [("run", f"{folder}/{records.RECORD_FILE}"), ("log", f"{folder}/{records.LOG_FILE}")]
    trainer = record.nodes.get("Trainer")
    if config.train.profile_steps and trainer is not None and trainer.state == "complete":
        rows += [("profile", _board(run.uri)) for run in trainer.artifacts.get("model_run", [])]
    if record.pushed_to:
        rows.insert(0, ("model", hints.shown(Path(record.pushed_to))))
    width = max(6, *(len(label) + 1 for label, _ in rows))
    for label, path in rows:
        console.print(f"  [dim]{label:<{width}}[/]{path}", soft_wrap=True, highlight=False)


def _board(folder: str) -> str:
    return f"tensorboard --logdir {hints.shown(Path(folder))}"


def print_verdicts(console: Console, record: RunRecord, *, all_gates: bool) -> None:
    """The gates' tables; a data gate that found nothing is left out unless `all_gates`."""
    for node_id, fields in record.verdicts.items():
        text = json.dumps(fields)
        try:
            if fields.get("gate") == "serving":
                console.print(_serving(text))
                continue
            verdict = Verdict.from_json(text)
        except ValueError as error:  # Of another version of Assay, for instance.
            console.print(f"[red]{node_id}: {escape(str(error))}[/]", soft_wrap=True)
            continue
        if all_gates or node_id != "DataGate" or verdict.checks or not verdict.blessed:
            console.print(render(verdict))


def _serving(text: str) -> RenderableType:
    """The serving gate's table. What it needs is imported for a verdict alone: it takes a while."""
    from tfx_pipeline.gates.serving.render import render
    from tfx_pipeline.gates.serving.verdict import ServingVerdict

    return render(ServingVerdict.from_json(text))
