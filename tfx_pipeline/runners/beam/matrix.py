"""Which Flink and Spark the installed Beam has job servers for. Read from Beam itself."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib.metadata import version

GROUP = "org.apache.beam"


@dataclass(frozen=True)
class JobServer:
    """A job server that Beam's release publishes on Maven Central.

    Attributes:
        engine: `flink` or `spark`.
        engine_version: Flink's minor version, for instance "1.20"; Spark's major version.
        beam: The Beam release.
    """

    engine: str
    engine_version: str
    beam: str

    @property
    def artifact(self) -> str:
        """Its artifact id on Maven Central."""
        return f"beam-runners-{self.engine}-{self.engine_version}-job-server"

    @property
    def file(self) -> str:
        """Its jar's name."""
        return f"{self.artifact}-{self.beam}.jar"

    @property
    def path(self) -> str:
        """Its jar's path in a Maven repository."""
        return f"{GROUP.replace('.', '/')}/{self.artifact}/{self.beam}/{self.file}"


def flink_versions() -> tuple[str, ...]:
    """Flink's minor versions, oldest first."""
    from apache_beam.options.pipeline_options import FlinkRunnerOptions

    return tuple(FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS)


def spark_versions() -> tuple[str, ...]:
    """Spark's major versions, oldest first."""
    from apache_beam.options.pipeline_options import SparkRunnerOptions

    parser = argparse.ArgumentParser()
    SparkRunnerOptions._add_argparse_args(parser)
    choices = [a.choices for a in parser._actions if a.dest == "spark_version"]
    return tuple(choices[0] or ()) if choices else ()


def job_servers() -> list[JobServer]:
    """Every job server of the installed Beam's release."""
    beam = version("apache-beam")
    return [
        *(JobServer("flink", v, beam) for v in flink_versions()),
        *(JobServer("spark", v, beam) for v in spark_versions()),
    ]


def job_server(engine: str, engine_version: str) -> JobServer | None:
    """The job server for an engine, or None if the installed Beam has none.

    Args:
        engine: `flink` or `spark`.
        engine_version: Flink's minor version; ignored for Spark, of which Beam has one.
    """
    found = [s for s in job_servers() if s.engine == engine]
    if engine == "flink":
        found = [s for s in found if s.engine_version == engine_version]
    return found[-1] if found else None
