"""`assay doctor --beam`: each finding on something real: a server on loopback, a file, a folder."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.beam.clusters import free_port
from tests.e2e.project import TAXI
from tfx_pipeline.config.beam import BeamConfig
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.doctor import beam as checks
from tfx_pipeline.lint import beam as lint
from tfx_pipeline.lint.registry import Problem
from tfx_pipeline.runners.beam import hosts, jars


def section(**values: Any) -> BeamConfig:
    return BeamConfig.model_validate({"runner": "flink", **values})


@pytest.fixture
def job_manager() -> Iterator[dict[str, Any]]:
    """What answers like a Flink job manager's REST port; `at`: its address."""
    overview: dict[str, Any] = {"flink-version": "1.20.5", "taskmanagers": 1, "slots-total": 2}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(overview).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    overview["at"] = f"127.0.0.1:{server.server_port}"
    yield overview
    server.shutdown()
    server.server_close()


def test_a_cluster_of_the_same_minor_version_is_fine(job_manager: dict[str, Any]) -> None:
    found = checks.cluster(section(master=job_manager["at"], parallelism=2))
    assert (found.status, found.remedy) == ("ok", "")
    assert "1.20.5, 1 task managers, 2 slots" in found.detail


def test_a_cluster_of_another_minor_version_is_not(job_manager: dict[str, Any]) -> None:
    job_manager["flink-version"] = "2.0.1"
    found = checks.cluster(section(master=job_manager["at"]))
    assert found.status == "fail"
    assert "run.beam.version to 2.0" in found.remedy


def test_a_cluster_with_too_few_slots_would_wait_for_ever(job_manager: dict[str, Any]) -> None:
    found = checks.cluster(section(master=job_manager["at"], parallelism=3))
    assert found.status == "fail"
    assert "2 slots, and parallelism is 3" in found.detail


def test_a_cluster_that_is_not_there(job_manager: dict[str, Any]) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    assert checks.cluster(section(master=nobody)).status == "fail"
    spark = BeamConfig.model_validate({"runner": "spark", "master": f"spark://{nobody}"})
    assert checks.cluster(spark).status == "fail"
    assert checks.job_server(section(job_server={"endpoint": nobody})).status == "fail"
    [staged] = checks.staging(section(job_server={"artifact_endpoint": nobody}), "")
    assert staged.status == "fail"


def test_the_jar_is_looked_at_byte_by_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_JARS", str(tmp_path))
    missing = checks.job_server(section())
    assert missing.status == "fail"
    assert "--fetch" in missing.remedy
    jar = tmp_path / jars.candidates("flink", "1.20")[0]
    jar.write_bytes(b"whole")
    jars.sidecar(jar).write_text(f"{jars.sha256(jar)}  {jar.name}\n")
    assert checks.job_server(section()).status == "ok"
    jar.write_bytes(b"whol")
    broken = checks.job_server(section())
    assert broken.status == "fail"
    assert "sha256" in broken.detail
    unknown = checks.job_server(section(version="1.11"))
    assert "none for Flink 1.11" in unknown.detail


def test_staging_must_be_readable_by_workers_elsewhere(tmp_path: Path) -> None:
    here = list(checks.staging(section(master="localhost:8081"), "runs"))
    assert [f.status for f in here] == ["ok"]
    away = section(master="flink.example:8081", environment={"type": "docker", "image": "a"})
    statuses = {f.name: f.status for f in checks.staging(away, "runs")}
    assert statuses == {"staging": "fail", "run.root": "warn"}
    shared = away.model_copy(
        update={"job_server": away.job_server.model_copy(update={"artifacts_dir": str(tmp_path)})}
    )
    statuses = {f.name: f.status for f in checks.staging(shared, "runs")}
    assert statuses == {"staging": "warn", "run.root": "warn"}
    (tmp_path / "file").touch()
    blocked = section(job_server={"artifacts_dir": str(tmp_path / "file" / "folder")})
    assert [f.status for f in checks.staging(blocked, "")] == ["fail"]


@pytest.mark.parametrize(
    ("data", "memory", "said"),
    [
        (10_000_000, 16_000_000_000, "local is enough"),
        (25_000_000_000, 16_000_000_000, "`[local]`"),
        (500_000_000_000, 16_000_000_000, "a cluster: flink, spark, or dataflow"),
    ],
)
def test_the_runner_follows_from_data_and_memory(data: int, memory: int, said: str) -> None:
    found = checks.suggestion(data, memory)
    assert said in found.detail + found.remedy


def problems(**beam: Any) -> dict[str, Problem]:
    config = PipelineConfig.model_validate({**TAXI, "run": {"beam": beam}})
    every = (
        lint.beam_workers_can_reach_the_code,
        lint.beam_files_are_there,
        lint.beam_version_has_a_job_server,
        lint.beam_args_leave_the_runner,
    )
    return {problem.field: problem for check in every for problem in check(config)}


def test_check_finds_what_cannot_work() -> None:
    assert problems() == problems(runner="flink") == {}
    assert problems(runner="spark", master="spark://localhost:7077") == {}
    away = problems(runner="flink", master="flink.example:8081")
    assert set(away) == {"run.beam.environment.type", "run.beam.job_server.artifacts_dir"}
    assert (
        "no job server for Flink 1.10"
        in problems(runner="flink", version="1.10")["run.beam.version"].what
    )
    files = problems(runner="flink", setup_file="no/setup.py", job_server={"jar": "no.jar"})
    assert set(files) == {"run.beam.setup_file", "run.beam.job_server.jar"}
    assert set(problems(args=["--runner=DirectRunner"])) == {"run.beam.args[0]"}


def test_what_is_here() -> None:
    assert hosts.is_here("127.0.0.1")
    assert hosts.is_here("localhost")
    assert not hosts.is_here("192.0.2.77")
    assert hosts.address("spark://a:7077,b:7078") == ("a", 7077)
    assert hosts.address("http://[::1]:8081") == ("::1", 8081)


@pytest.mark.slow
def test_the_command_looks_at_a_configs_beam_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job_manager: dict[str, Any]
) -> None:
    import typer
    import yaml

    from tfx_pipeline.doctor.command import doctor

    monkeypatch.setenv("ASSAY_JARS", str(tmp_path / "jars"))
    beam = {"runner": "flink", "master": job_manager["at"]}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump({**TAXI, "run": {"beam": beam}}))
    (tmp_path / "data.csv").write_text("x\n")
    app = typer.Typer()
    app.command()(doctor)
    result = CliRunner().invoke(app, ["--json", "--config", str(tmp_path / "pipeline.yaml")])
    found = {item["name"]: item for item in json.loads(result.stdout)}
    assert result.exit_code == 7  # There is no jar.
    assert found["job server"]["status"] == "fail"
    assert "1.20.5" in found["cluster"]["detail"]
    assert "local is enough" in found["runner"]["detail"]
