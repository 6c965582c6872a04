"""Checks of `run.beam`: an engine that could not run the code, or not find it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.lint.registry import Problem, register
from tfx_pipeline.runners.beam import hosts


@register
def beam_workers_can_reach_the_code(config: PipelineConfig) -> Iterator[Problem]:
    """Workers on another machine need a way to the code, and to the files of the job."""
    beam = config.run.beam
    if not hosts.is_elsewhere(beam):
        return
    if beam.environment.type == "loopback":
        yield Problem(
            "run.beam.environment.type",
            f"loopback runs the code in this process, which workers of {beam.master} cannot reach",
            "choose docker, process or external (BeamRunner.md, Environments)",
        )
    if not beam.job_server.artifacts_dir and not beam.job_server.endpoint:
        yield Problem(
            "run.beam.job_server.artifacts_dir",
            f"empty is a temporary folder here, which workers of {beam.master} cannot read",
            "name a folder that both can read: a shared one, hdfs:// or gs://",
        )


@register
def beam_files_are_there(config: PipelineConfig) -> Iterator[Problem]:
    """What the config names is on this machine."""
    beam = config.run.beam
    if beam.setup_file and not config.resolve(beam.setup_file).is_file():
        yield Problem("run.beam.setup_file", f"no file {config.resolve(beam.setup_file)}")
    elif beam.setup_file and Path(beam.setup_file).name != "setup.py":
        yield Problem("run.beam.setup_file", "Beam takes only a file called setup.py")
    jar = beam.job_server.jar
    if jar and "://" not in jar and not Path(jar).expanduser().is_file():
        yield Problem("run.beam.job_server.jar", f"no file {jar}")
    if beam.setup_file and beam.environment.type == "loopback" and beam.engine != "dataflow":
        yield Problem(
            "run.beam.setup_file",
            "loopback runs the code as it is installed here, and installs nothing",
            "leave setup_file out",
        )


@register
def beam_version_has_a_job_server(config: PipelineConfig) -> Iterator[Problem]:
    """The installed Beam speaks to some versions of Flink only."""
    beam = config.run.beam
    if beam.engine != "flink" or beam.job_server.endpoint:
        return
    from tfx_pipeline.runners.beam import matrix  # It imports Beam.

    if beam.flink_version not in matrix.flink_versions():
        yield Problem(
            "run.beam.version",
            f"the installed Beam has no job server for Flink {beam.flink_version}",
            f"choose one of {', '.join(matrix.flink_versions())}",
        )


@register
def beam_args_leave_the_runner(config: PipelineConfig) -> Iterator[Problem]:
    """`args` come last and would win over what `run.beam` says."""
    for index, arg in enumerate(config.run.beam.args):
        if arg.split("=")[0] in ("--runner", "--flink_master", "--spark_master_url"):
            yield Problem(
                f"run.beam.args[{index}]",
                f"{arg.split('=')[0]} belongs in run.beam",
                "use run.beam.runner and run.beam.master",
            )
