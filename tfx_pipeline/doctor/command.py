"""The command `assay doctor`."""

from __future__ import annotations

import dataclasses
import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfx_pipeline.errors import ConfigError, EnvironmentMismatch

if TYPE_CHECKING:
    from rich.console import Console

    from tfx_pipeline.config.beam import BeamConfig
    from tfx_pipeline.doctor.finding import Finding

BEAM_RUNNERS = ("local", "flink", "spark", "dataflow")


def doctor(
    beam: Annotated[
        str | None,
        typer.Option(help=f"Also demand what this Beam runner needs: {', '.join(BEAM_RUNNERS)}."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Look at this pipeline.yaml's run.beam, and its data.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data to suggest a Beam runner for: file, folder, pattern.")
    ] = None,
    flink_version: Annotated[
        str, typer.Option(help="Flink's minor version, without --config; left out: 1.20.")
    ] = "",
    fetch: Annotated[
        bool, typer.Option("--fetch", help="First fetch the job-server jar of --beam.")
    ] = False,
    assemble: Annotated[
        bool,
        typer.Option("--assemble", help="With --fetch: build it of pinned libraries instead."),
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="With --beam: also run a job of one row.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what is missing, mismatched or slow on this machine, and what to do about each.

    Ends with exit code 0 when Assay can work here (advice or not), with 7 when a check failed.
    """
    from rich.console import Console

    from tfx_pipeline.doctor.render import render, summary

    if beam is not None and beam.lower() not in BEAM_RUNNERS:
        raise ConfigError(
            f"there is no Beam runner {beam!r}",
            where="--beam",
            hint=f"Choose one of {', '.join(BEAM_RUNNERS)}.",
        )
    console = Console()
    asked = (beam or "").lower()
    section, root, size = _asked(asked, config, data, flink_version)
    asked = asked or (section.runner if section.runner != "local" else "")
    if fetch:
        _fetch(section, assemble, Console(stderr=True) if json else console)

    def look() -> list[Finding]:
        from tfx_pipeline.doctor import beam as beam_checks
        from tfx_pipeline.doctor.checks import run_checks
        from tfx_pipeline.doctor.machine import memory_free

        findings = run_checks(beam=asked)
        if asked in ("flink", "spark"):
            findings += beam_checks.beam_findings(section, root, probe)
        if size is not None:
            free = memory_free(Path("/sys/fs/cgroup"))
            findings.append(beam_checks.suggestion(size, free))
        return findings

    if json:
        findings = look()
        print(json_module.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        with console.status("Looking at this machine (about 10 s, mostly importing TensorFlow)"):
            findings = look()
        console.print(render(findings))
        console.print(summary(findings))
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(EnvironmentMismatch.exit_code)


def _asked(
    runner: str, config: Path | None, data: Path | None, flink_version: str
) -> tuple[BeamConfig, str, int | None]:
    """The `run.beam` to look at, `run.root`, and the bytes of the data, if either is known."""
    from tfx_pipeline.config.beam import BeamConfig
    from tfx_pipeline.config.load import load_config
    from tfx_pipeline.ingest.sizes import data_size

    section, root = BeamConfig(), ""
    files = [data] if data is not None else []
    if config is not None:
        loaded = load_config(config)
        section, root = loaded.run.beam, str(loaded.root)
        # Of `auto`, what it may leave this process for.
        section = section.model_copy(update={"runner": section.engine or "local"})
        files = files or [loaded.resolve(path) for path in loaded.data.path]
    if runner in ("flink", "spark") and section.runner != runner:
        version = flink_version if runner == "flink" else ""
        section = BeamConfig.model_validate({"runner": runner, "version": version})
    return section, root, sum(map(data_size, files)) if files else None


def _fetch(section: BeamConfig, assemble: bool, console: Console) -> None:
    """Brings the job server's jar into the cache.

    Raises:
        ConfigError: No runner that has one was asked for.
        EnvironmentMismatch: It cannot be had.
    """
    from tfx_pipeline.runners.beam import jars, matrix

    if section.runner not in ("flink", "spark"):
        raise ConfigError("--fetch needs --beam flink or --beam spark", where="--fetch")
    spark = matrix.spark_versions()[-1]
    version = section.flink_version if section.runner == "flink" else spark
    jars.fetch(section.runner, version, console.print, assemble=assemble)
