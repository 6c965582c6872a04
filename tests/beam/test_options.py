"""From `run.beam` to what Beam itself understands, read back with Beam's own parser."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.e2e.project import TAXI
from tfx_pipeline.config.beam import BeamConfig
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.runners.beam.options import LOCAL_RUNNER, beam_args


def config(**beam: Any) -> PipelineConfig:
    return PipelineConfig.model_validate({**TAXI, "run": {"beam": beam}})


def parsed(**beam: Any) -> dict[str, Any]:
    """Every option, after Beam has parsed them."""
    from apache_beam.options.pipeline_options import PipelineOptions

    options = PipelineOptions(beam_args(config(**beam)))
    found: dict[str, Any] = options.get_all_options()
    # Beam warns of a flag that it does not know, and drops it.
    flags = [arg.split("=")[0].removeprefix("--") for arg in beam_args(config(**beam))]
    # The job server's own, which Beam asks it for when a job is submitted.
    flags = [f if f != "beam_plugin" else "beam_plugins" for f in flags]
    unknown = [flag for flag in flags if flag not in found]
    assert unknown == []
    return found


def test_local_is_the_default_and_needs_no_network() -> None:
    args = [f"--runner={LOCAL_RUNNER}", "--sdk_container_image=local"]
    assert beam_args(config()) == args


def test_local_in_so_many_processes() -> None:
    assert "--local_processes=3" in beam_args(config(parallelism=3))


def test_flink_on_a_cluster() -> None:
    found = parsed(
        runner="flink",
        master="flink.example:8081",
        version="1.19",
        parallelism=8,
        environment={"type": "external", "address": "workers.example:50000", "workers": 2},
        job_server={"artifacts_dir": "/shared/staged", "job_port": 8099, "artifact_port": 8098},
    )
    assert found["runner"] == "tfx_pipeline.runners.beam.runner.FlinkRunner"
    assert found["flink_master"] == "flink.example:8081"
    assert (found["flink_version"], found["parallelism"]) == ("1.19", 8)
    assert found["environment_type"] == "EXTERNAL"
    assert found["environment_config"] == "workers.example:50000"
    assert int(found["sdk_worker_parallelism"]) == 2
    assert found["artifacts_dir"] == "/shared/staged"
    assert (found["job_port"], found["artifact_port"]) == (8099, 8098)


def test_packages_are_listed_only_for_workers_that_are_another_installation() -> None:
    """By `pip freeze`, which takes seconds of each job."""
    unlisted = "disable_logging_submission_environment"
    assert parsed(runner="flink")["experiments"] == [unlisted]
    elsewhere = {"type": "external", "address": "workers.example:50000"}
    assert not parsed(runner="flink", master="a:8081", environment=elsewhere)["experiments"]


def test_a_job_server_that_runs_already_is_used() -> None:
    found = parsed(runner="flink", job_server={"endpoint": "jobs.example:8099"})
    assert found["job_endpoint"] == "jobs.example:8099"


def test_memory_and_parallelism_reach_spark_as_it_reads_them() -> None:
    inside = parsed(runner="spark", parallelism=3, memory_mb=2048)
    assert inside["spark_master_url"] == "local[3]"
    assert "-Xmx2048m" in inside["job_server_jvm_properties"]
    cluster = parsed(
        runner="spark", master="spark://spark.example:7077", parallelism=3, memory_mb=2048
    )
    assert cluster["job_server_jvm_properties"] == [
        "-Dspark.default.parallelism=3",
        "-Dspark.cores.max=3",
        "-Dspark.executor.memory=2048m",
    ]


@pytest.mark.parametrize(
    ("environment", "urn", "said"),
    [
        ({"type": "docker", "image": "registry.example/assay:1"}, "docker", "registry.example"),
        ({"type": "process", "command": "/boot", "variables": {"A": "b"}}, "process", "/boot"),
        ({"type": "external", "address": "workers.example:50000"}, "external", "workers.example"),
    ],
)
def test_beam_makes_the_environment_that_was_meant(
    environment: dict[str, Any], urn: str, said: str
) -> None:
    from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
    from apache_beam.transforms.environments import Environment

    args = beam_args(config(runner="flink", master="flink.example:8081", environment=environment))
    options = PipelineOptions(args).view_as(PortableOptions)
    from tfx_pipeline.runners.beam.runner import FlinkRunner

    made = FlinkRunner().default_environment(options)
    assert isinstance(made, Environment)
    proto = made.to_runner_api(None)
    assert proto.urn == f"beam:env:{urn}:v1"
    assert said.encode() in proto.payload


def test_dataflow_gets_what_it_needs() -> None:
    cloud = {"project": "my-project", "region": "europe-west1", "temp_location": "gs://my/tmp"}
    image = "europe-docker.example/assay:1"
    found = parsed(runner="dataflow", dataflow=cloud | {"max_workers": 8}, sdk_image=image)
    assert found["runner"] == "DataflowRunner"
    assert (found["project"], found["region"]) == ("my-project", "europe-west1")
    assert found["temp_location"] == found["staging_location"] == "gs://my/tmp"
    assert (found["sdk_container_image"], found["max_num_workers"]) == (image, 8)


def test_own_options_come_last_and_win() -> None:
    found = parsed(runner="flink", parallelism=2, args=["--parallelism=5"])
    assert found["parallelism"] == 5


@pytest.mark.parametrize(
    ("beam", "message"),
    [
        ({"master": "[local]"}, "no meaning with runner: local"),
        ({"runner": "flink", "master": "spark://a:7077"}, "is no Flink"),
        ({"runner": "spark", "master": "a:8081"}, "is no Spark"),
        ({"runner": "spark", "version": "1.20"}, "`version` has no meaning"),
        ({"runner": "dataflow", "dataflow": {"project": "p"}}, "dataflow.region"),
        ({"runner": "flink", "environment": {"type": "external"}}, "needs `address`"),
        ({"runner": "flink", "environment": {"image": "a"}}, "is for type: docker"),
        ({"runner": "flink", "sdk_image": "a"}, "`sdk_image` has no meaning"),
        ({"setup_file": "setup.py"}, "`setup_file` has no meaning"),
    ],
)
def test_a_combination_that_cannot_work_is_refused(beam: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BeamConfig.model_validate(beam)
