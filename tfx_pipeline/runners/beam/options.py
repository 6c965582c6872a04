"""From the config's `run.beam` to Beam's pipeline options. Imports no Beam."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

from tfx_pipeline.config.beam import BeamConfig
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.runners.beam.choice import choose

log = logging.getLogger(__name__)

_RUNNERS = "tfx_pipeline.runners.beam.runner"
LOCAL_RUNNER = "tfx_pipeline.runners.beam.local.runner.LocalRunner"


def beam_args(config: PipelineConfig) -> list[str]:
    """Beam's pipeline options for every node of a pipeline.

    They hold no path of this machine but those that the config names: another one may run the
    nodes, and finds its job server's jar itself. `runner: auto` is decided here.

    Raises:
        ConfigError: As `choose`.
    """
    choice = choose(config)
    if choice.said:
        log.log(logging.WARNING if choice.is_warning else logging.INFO, "%s", choice.said)
    beam = choice.beam
    return engine_args(beam, str(config.resolve(beam.setup_file)) if beam.setup_file else "")


def engine_args(beam: BeamConfig, setup_file: str = "") -> list[str]:
    """Beam's pipeline options of a `run.beam`.

    Args:
        beam: The section; its runner is not `auto`.
        setup_file: Its `setup_file`, absolute.
    """
    made = {"local": _local, "flink": _flink, "spark": _spark, "dataflow": _dataflow}
    args = [*made[beam.runner](beam)]
    if beam.runner != "local":
        args += _code(beam, setup_file)
    return [*args, *beam.args]


def _local(beam: BeamConfig) -> Iterator[str]:
    # Beam's `FnApiRunner`, which keeps all rows in memory, can be asked for in `args`. Its
    # `DirectRunner` would first try to fetch Prism from the network.
    yield f"--runner={LOCAL_RUNNER}"
    if beam.parallelism:
        yield f"--local_processes={beam.parallelism}"
    yield from _NO_SDIST


# Without a value of this option, TFX builds a source distribution of itself for every Beam node.
_NO_SDIST = ["--sdk_container_image=local"]


def _flink(beam: BeamConfig) -> Iterator[str]:
    yield f"--runner={_RUNNERS}.FlinkRunner"
    yield f"--flink_master={beam.master or '[local]'}"
    yield f"--flink_version={beam.flink_version}"
    if beam.parallelism:
        yield f"--parallelism={beam.parallelism}"
    if beam.memory_mb and beam.embedded:
        yield f"--job_server_jvm_properties=-Xmx{beam.memory_mb}m"
    yield from _job_server(beam, "flink")
    yield from _environment(beam)


def _spark(beam: BeamConfig) -> Iterator[str]:
    yield f"--runner={_RUNNERS}.SparkRunner"
    cores = str(beam.parallelism) if beam.parallelism else "*"
    yield f"--spark_master_url={beam.master or f'local[{cores}]'}"
    if beam.parallelism:
        yield f"--job_server_jvm_properties=-Dspark.default.parallelism={beam.parallelism}"
        if not beam.embedded:
            yield f"--job_server_jvm_properties=-Dspark.cores.max={beam.parallelism}"
    if beam.memory_mb:
        heap = "-Xmx" if beam.embedded else "-Dspark.executor.memory="
        yield f"--job_server_jvm_properties={heap}{beam.memory_mb}m"
    yield from _job_server(beam, "spark")
    yield from _environment(beam)


def _job_server(beam: BeamConfig, engine: str) -> Iterator[str]:
    server = beam.job_server
    yield from _given(
        {
            "job_endpoint": server.endpoint,
            "artifact_endpoint": server.artifact_endpoint,
            f"{engine}_job_server_jar": server.jar,
            "job_server_java_launcher": server.java if server.java != "java" else "",
            "artifacts_dir": server.artifacts_dir,
            "job_port": server.job_port,
            "artifact_port": server.artifact_port,
        }
    )


def _given(options: dict[str, str | int | None]) -> Iterator[str]:
    """Those options that the config sets."""
    return (f"--{name}={value}" for name, value in options.items() if value)


def _environment(beam: BeamConfig) -> Iterator[str]:
    environment = beam.environment
    yield f"--environment_type={environment.type.upper()}"
    if environment.type == "external":
        yield f"--environment_config={environment.address}"
    elif environment.type == "loopback":
        # Beam would stage what `pip freeze` prints for each job: what this process has, for itself.
        yield "--experiments=disable_logging_submission_environment"
    elif environment.type == "docker":
        yield f"--environment_config={environment.image}"
    elif environment.type == "process":
        yield "--environment_config=" + json.dumps(
            {"command": environment.command, "env": environment.variables}
        )
    # Without it Spark ends the Python workers after each stage: Transform took four times as long.
    yield "--environment_cache_millis=600000"
    if environment.workers != 1:
        yield f"--sdk_worker_parallelism={environment.workers}"


def _code(beam: BeamConfig, setup_file: str) -> Iterator[str]:
    """How the code reaches the workers: a setup.py, an image, or not at all."""
    if beam.runner == "dataflow" or beam.environment.type != "loopback":
        # Imported before the code of a job: tfx mends what tfx_bsl lacks for TFDV.
        yield "--beam_plugin=tfx"
    if setup_file:
        yield f"--setup_file={setup_file}"
    if beam.sdk_image:
        yield f"--sdk_container_image={beam.sdk_image}"
    elif not setup_file:
        yield from _NO_SDIST


def _dataflow(beam: BeamConfig) -> Iterator[str]:
    cloud = beam.dataflow
    yield "--runner=DataflowRunner"
    yield f"--project={cloud.project}"
    yield f"--region={cloud.region}"
    yield f"--temp_location={cloud.temp_location}"
    yield f"--staging_location={cloud.staging_location or cloud.temp_location}"
    yield from _given(
        {
            "service_account_email": cloud.service_account,
            "worker_machine_type": cloud.machine_type,
            "max_num_workers": cloud.max_workers,
        }
    )
