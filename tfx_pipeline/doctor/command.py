"""The command `assay doctor`."""

from __future__ import annotations

import dataclasses
import json as json_module
from typing import Annotated

import typer
from rich.console import Console

from tfx_pipeline.doctor import run_checks
from tfx_pipeline.doctor.render import render, summary
from tfx_pipeline.errors import ConfigError, EnvironmentMismatch

BEAM_RUNNERS = ("local", "flink", "spark", "dataflow")


def doctor(
    beam: Annotated[
        str | None,
        typer.Option(help=f"Also demand what this Beam runner needs: {', '.join(BEAM_RUNNERS)}."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what is missing, mismatched or slow on this machine, and what to do about each.

    Ends with exit code 0 when Assay can work here (advice or not), with 7 when a check failed.
    """
    if beam is not None and beam.lower() not in BEAM_RUNNERS:
        raise ConfigError(
            f"there is no Beam runner {beam!r}",
            where="--beam",
            hint=f"Choose one of {', '.join(BEAM_RUNNERS)}.",
        )
    console = Console()
    if json:
        findings = run_checks(beam=(beam or "").lower())
        print(json_module.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        with console.status("Looking at this machine (about 10 s, mostly importing TensorFlow)"):
            findings = run_checks(beam=(beam or "").lower())
        console.print(render(findings))
        console.print(summary(findings))
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(EnvironmentMismatch.exit_code)
