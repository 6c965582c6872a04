"""`assay submit`, as a process, against an endpoint over TLS and buckets of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.api_core import exceptions as google
from google.cloud.aiplatform_v1.types import PipelineJob, PipelineState, PipelineTaskDetail
from google.protobuf import json_format

from tests.vertex import fake_vertex
from tests.vertex.conftest import YAML, Written, make_project
from tests.vertex.fake_vertex import FakeBuckets, FakeVertex
from tfx_pipeline.errors import AssayError, ConfigError, EnvironmentMismatch, Transient
from tfx_pipeline.gates.verdict import Verdict
from tfx_pipeline.report.record import NodeRecord, RunRecord, now
from tfx_pipeline.runners.compiled import compile_config
from tfx_pipeline.runners.vertex.compile import deployed, write_spec
from tfx_pipeline.runners.vertex.submit import Jobs, JobSeen, explained

pytestmark = pytest.mark.slow

State = PipelineTaskDetail.State


@dataclass
class Cloud:
    """A project at the fakes, and the environment in which `assay submit` finds them."""

    vertex: FakeVertex
    buckets: FakeBuckets
    written: Written
    environment: dict[str, str]

    def submit(self, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs `assay submit` to its end."""
        return subprocess.run(
            self.command(*options), env={**self.environment, **more}, capture_output=True,
            text=True, timeout=200, check=False,
        )  # fmt: skip

    def command(self, *options: str) -> list[str]:
        target = [] if "--cancel" in options else [str(self.written.job)]
        assay = str(Path(sys.executable).with_name("assay"))
        return [assay, "submit", *target, "--poll-seconds", "0.1", *options]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    with fake_vertex.serving(folder) as (vertex, trusted), fake_vertex.buckets() as buckets:
        text = YAML + f"    endpoint: localhost:{vertex.port}\n"
        config = make_project(folder / "project", text)
        files = write_spec(compile_config(deployed(config)), folder / "compiled")
        environment = {
            **os.environ,
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(trusted),
            "GOOGLE_APPLICATION_CREDENTIALS": str(fake_vertex.service_account_key(folder)),
            "STORAGE_EMULATOR_HOST": buckets.url,
        }
        yield Cloud(vertex, buckets, Written(config, *files), environment)


@pytest.fixture(autouse=True)
def fresh(cloud: Cloud) -> None:
    vertex = FakeVertex(port=cloud.vertex.port)
    # The server's handlers are bound to the object.
    cloud.vertex.__dict__.update(vertex.__dict__)
    cloud.buckets.forbidden = False


def look(state: str, **tasks: str) -> PipelineJob:
    """A job as Vertex shows it; the whole pipeline is among its tasks there."""
    details = [
        PipelineTaskDetail(
            task_name=name,
            state=State[said],
            start_time={"seconds": 100},
            end_time={"seconds": 142},
            error={"message": "exit code 6"} if said == "FAILED" else None,
        )
        for name, said in {"taxi-fares": "RUNNING", **tasks}.items()
    ]
    return PipelineJob(
        state=PipelineState[f"PIPELINE_STATE_{state}"], job_detail={"task_details": details}
    )


def record(cloud: Cloud, **changes: object) -> Callable[[], None]:
    """Puts the run's record into the bucket, as soon as the job's id is known."""

    def put() -> None:
        run_id = cloud.vertex.created[0].pipeline_job_id
        found = RunRecord(run_id=run_id, pipeline="taxi_fares", runner="vertex", started=now())
        text = found.model_copy(update=changes).model_dump_json()
        cloud.buckets.objects[f"bucket/runs/{run_id}/run.json"] = text.encode()

    return put


def test_creates_the_compiled_job_and_waits_for_its_end(cloud: Cloud) -> None:
    cloud.vertex.answers = [
        look("PENDING"),
        look("RUNNING", ExampleGen="RUNNING"),
        look("RUNNING", ExampleGen="SUCCEEDED", StatisticsGen="RUNNING"),
        look("SUCCEEDED", ExampleGen="SUCCEEDED", StatisticsGen="SUCCEEDED"),
    ]
    cloud.vertex.unavailable = 1
    pushed = "/gcs/bucket/models/taxi/17"
    cloud.vertex.asked = record(cloud, state="complete", exit_code=0, pushed_to=pushed)
    done = cloud.submit()
    assert done.returncode == 0, done.stderr
    [request] = cloud.vertex.created
    assert request.parent == "projects/my-project/locations/europe-west4"
    assert request.pipeline_job_id.startswith("taxi-fares-20")
    expected = PipelineJob()
    json_format.ParseDict(cloud.written.content, PipelineJob.pb(expected))
    assert request.pipeline_job == expected
    assert dict(request.pipeline_job.labels) == {"assay-pipeline": "taxi-fares", "team": "fares"}
    [sent] = cloud.vertex.metadata
    assert sent["authorization"].startswith("Bearer ")
    lines = done.stdout.splitlines()
    assert lines[0] == f"taxi_fares  job {request.pipeline_job_id}"
    assert lines[1].strip() == (
        "https://console.cloud.google.com/vertex-ai/locations/europe-west4/pipelines/runs/"
        f"{request.pipeline_job_id}?project=my-project"
    )
    ended = [line.split() for line in lines if "✓" in line]
    assert ended == [["✓", "ExampleGen", "42", "s"], ["✓", "StatisticsGen", "42", "s"]]
    assert pushed in done.stdout


def test_a_job_whose_creation_was_not_answered_is_not_lost(cloud: Cloud) -> None:
    cloud.vertex.loses_answer = True
    cloud.vertex.answers = [look("RUNNING")]
    done = cloud.submit("--no-wait")
    assert done.returncode == 0, done.stderr
    assert cloud.vertex.created[0].pipeline_job_id in done.stdout
    cloud.vertex.created.clear()
    cloud.vertex.loses_answer, cloud.vertex.refusal = False, (grpc.StatusCode.UNAVAILABLE, "busy")
    assert cloud.submit("--no-wait").returncode == Transient.exit_code


def test_without_a_record_nobody_knows_what_the_gates_said(cloud: Cloud) -> None:
    cloud.vertex.answers = [look("SUCCEEDED", Pusher="SUCCEEDED")]
    done = cloud.submit()
    assert done.returncode == EnvironmentMismatch.exit_code
    assert "what its gates said cannot be read" in done.stderr
    assert "gs://bucket/runs/taxi-fares-20" in done.stderr


def test_waiting_outlasts_the_machines_own_network(cloud: Cloud) -> None:
    class Away(Jobs):
        def look(self, job_id: str) -> JobSeen:
            if errors:
                raise errors.pop(0)
            return JobSeen("SUCCEEDED", "", {})

    def told(raised: Exception) -> AssayError:
        error = explained(raised, cloud.written.config.run.vertex)
        error.__cause__ = raised
        return error

    jobs = Away.__new__(Away)
    errors = [told(google.ServiceUnavailable("DNS resolution failed")) for _ in range(3)]
    assert jobs.wait("job", 0, lambda _: None).state == "SUCCEEDED"
    errors = [told(google.PermissionDenied("pipelineJobs.get"))]
    with pytest.raises(EnvironmentMismatch, match="permission denied"):
        jobs.wait("job", 0, lambda _: None)


def test_uploads_what_the_containers_read_once(cloud: Cloud) -> None:
    ir = cloud.written.ir.read_text()
    for _ in range(2):
        cloud.vertex.created.clear()
        assert cloud.submit("--no-wait").returncode == 0
    args = cloud.written.executor("ExampleGen")["args"]
    [path] = [part for part in args if part.endswith(".ir.json")]
    name = path.removeprefix("/gcs/")
    assert json.loads(cloud.buckets.objects[name]) == json.loads(ir)
    assert {query["ifGenerationMatch"] for query in cloud.buckets.queries} == {"0"}


def test_a_gate_that_refused_is_exit_code_5_with_its_verdict(cloud: Cloud) -> None:
    cloud.vertex.answers = [
        look("SUCCEEDED", DataGate="SUCCEEDED", Trainer="NOT_TRIGGERED", Pusher="NOT_TRIGGERED")
    ]
    verdict = Verdict(gate="data", blessed=False, reason="anomaly in miles: too new").to_json()
    cloud.vertex.asked = record(
        cloud,
        state="refused",
        error="DataGate refused: anomaly in miles: too new",
        verdicts={"DataGate": json.loads(verdict)},
    )
    done = cloud.submit()
    assert done.returncode == 5
    assert "DataGate refused: anomaly in miles: too new" in done.stderr
    assert "anomaly in miles: too new" in done.stdout
    assert [line.split()[1:] for line in done.stdout.splitlines() if "–" in line] == [
        ["Trainer", "skipped"],
        ["Pusher", "skipped"],
    ]


def test_a_failed_node_is_exit_code_6_with_its_error(cloud: Cloud) -> None:
    cloud.vertex.answers = [look("FAILED", Transform="FAILED")]
    node = NodeRecord(state="failed", error="own.py raised KeyError: 'miles'")
    cloud.vertex.asked = record(cloud, state="failed", error=node.error, nodes={"Transform": node})
    done = cloud.submit()
    assert done.returncode == 6
    assert "the job failed at Transform: own.py raised KeyError: 'miles'" in done.stderr
    assert "pipelines/runs/" in done.stderr


def test_a_cancelled_job_is_exit_code_6(cloud: Cloud) -> None:
    cloud.vertex.answers = [look("RUNNING"), look("CANCELLED", Trainer="CANCELLED")]
    done = cloud.submit()
    assert done.returncode == 6
    assert "the job was cancelled" in done.stderr


def test_ctrl_c_ends_the_waiting_and_not_the_job(cloud: Cloud) -> None:
    cloud.vertex.answers = [look("RUNNING", Trainer="RUNNING")]
    process = subprocess.Popen(
        cloud.command(), env=cloud.environment, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not cloud.vertex.looks:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    job_id = cloud.vertex.created[0].pipeline_job_id
    assert f"--cancel {job_id}" in said
    assert not cloud.vertex.cancelled
    project = str(cloud.written.config.folder)
    assert cloud.submit(project, "--cancel", job_id).returncode == 0
    # The command as it was told: with what was submitted.
    assert cloud.submit(str(cloud.written.job), "--cancel", job_id).returncode == 0
    assert cloud.vertex.cancelled == [cloud.vertex.name] * 2


def test_what_vertex_refuses_is_explained(cloud: Cloud) -> None:
    cloud.vertex.refusal = grpc.StatusCode.PERMISSION_DENIED, "aiplatform.pipelineJobs.create"
    done = cloud.submit()
    assert done.returncode == EnvironmentMismatch.exit_code
    assert "permission denied: aiplatform.pipelineJobs.create" in done.stderr
    assert "roles/aiplatform.user" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (google.Unauthenticated("expired"), EnvironmentMismatch, "application-default login"),
        (google.ResourceExhausted("n1_cpus"), EnvironmentMismatch, "page of quotas"),
        (google.InvalidArgument("bad machine"), ConfigError, "docs/vertex.md"),
        (google.NotFound("no project"), ConfigError, "run.vertex.project"),
        (google.AlreadyExists("taxi-1"), ConfigError, ""),
        (google.ServiceUnavailable("errors resolving moon-west1"), EnvironmentMismatch, "regions"),
        (google.ServiceUnavailable("overload"), Transient, "Try again"),
        (google.DeadlineExceeded("60 s"), Transient, "Try again"),
    ],
)
def test_every_kind_of_refusal_says_what_to_do(
    cloud: Cloud, raised: Exception, kind: type[AssayError], said: str
) -> None:
    error = explained(raised, cloud.written.config.run.vertex)
    assert type(error) is kind
    assert said in error.hint
    assert str(raised).partition(" ")[2] in error.headline


def test_a_bucket_that_cannot_be_written_is_explained(cloud: Cloud) -> None:
    cloud.buckets.objects.clear()
    cloud.buckets.forbidden = True
    done = cloud.submit()
    assert done.returncode == 7
    assert "no storage.objects.create" in done.stderr
    assert "Storage Object User" in done.stderr
    assert not cloud.vertex.created


def test_no_credentials_are_explained(cloud: Cloud, tmp_path: Path) -> None:
    # Neither a key nor gcloud's files nor a metadata server.
    done = cloud.submit(
        GOOGLE_APPLICATION_CREDENTIALS="", HOME=str(tmp_path), NO_GCE_CHECK="true",
        CLOUDSDK_CONFIG=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 7
    assert "gcloud auth application-default login" in done.stderr


def test_files_that_do_not_belong_together_are_refused(cloud: Cloud, tmp_path: Path) -> None:
    job = tmp_path / cloud.written.job.name
    job.write_text(cloud.written.job.read_text())
    ir = json.loads(cloud.written.ir.read_text())
    (tmp_path / cloud.written.ir.name).write_text(json.dumps(ir))
    command = [cloud.command()[0], "submit", str(job)]
    done = subprocess.run(
        command, env=cloud.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "was not compiled with the taxi_fares.ir.json beside it" in done.stderr
    assert not cloud.vertex.created
