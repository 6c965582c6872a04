"""What `assay compile --to vertex` writes, and what it refuses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from google.cloud.aiplatform_v1.types import CustomJob, PipelineJob
from google.protobuf import json_format

from tests.vertex.conftest import YAML, Written, make_project
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.runners import compiled as compiled_lib
from tfx_pipeline.runners.compiled import compile_config
from tfx_pipeline.runners.vertex.compile import check, deployed, write_spec

KUBEFLOW = """\
    kubeflow: {volume_claim: shared, mount_path: /data, password_secret: mlmd/password}
"""
# Runs in .venv-kfp: parses each document strictly, and loads the file as the SDK does.
LOAD = """
import json, sys, yaml
from google.protobuf import json_format
from kfp import components
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

spec, *platforms = yaml.safe_load_all(open(sys.argv[1]))
message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
deployment = json_format.ParseDict(
    json_format.MessageToDict(message.deployment_spec),
    pipeline_spec_pb2.PipelineDeploymentConfig(),
)
mounts = []
for document in platforms:
    platform = json_format.ParseDict(document, pipeline_spec_pb2.PlatformSpec())
    for executor in document["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        config = kubernetes_executor_config_pb2.KubernetesExecutorConfig()
        json_format.ParseDict(executor, config)
        mounts.append(config.pvc_mount[0].mount_path)
loaded = components.load_component_from_file(sys.argv[1])
print(json.dumps({
    "name": loaded.name,
    "tasks": sorted(loaded.pipeline_spec.root.dag.tasks),
    "executors": sorted(deployment.executors),
    "mounts": sorted(set(mounts)),
}))
"""


@pytest.fixture(scope="module")
def load(repo: Path) -> Callable[[Path], dict[str, object]]:
    """Loads a pipeline's YAML with the Kubeflow Pipelines SDK."""
    python = repo / ".venv-kfp/bin/python"
    if not python.exists():
        pytest.skip("the Kubeflow Pipelines SDK is not there: run `make kfp`")

    def loaded(path: Path) -> dict[str, object]:
        done = subprocess.run(
            [python, "-c", LOAD, path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    return loaded


def test_spec_loads_in_kubeflows_sdk(
    written: Written, load: Callable[[Path], dict[str, object]]
) -> None:
    found = load(written.yaml)
    nodes = [n.pipeline_node.node_info.id for n in compiled_lib.read(written.ir).ir.nodes]
    assert found["name"] == "taxi-fares"
    assert found["tasks"] == sorted(nodes)
    assert found["executors"] == sorted(f"exec-{node}" for node in nodes)
    assert yaml.safe_load(written.yaml.read_text()) == written.content["pipelineSpec"]


def test_job_is_one_that_vertex_takes(written: Written) -> None:
    job = PipelineJob()
    json_format.ParseDict(written.content, PipelineJob.pb(job))  # Unknown fields raise.
    assert job.display_name == "taxi_fares"
    assert job.service_account == "runner@my-project.iam.gserviceaccount.com"
    assert job.network == "projects/123/global/networks/vpc"
    assert list(job.reserved_ip_ranges) == ["vertex-range"]
    assert job.encryption_spec.kms_key_name.endswith("/cryptoKeys/k")
    assert dict(job.labels) == {"assay-pipeline": "taxi-fares", "team": "fares"}
    assert job.runtime_config.gcs_output_directory == "gs://bucket/staging"
    assert job.runtime_config.failure_policy.name.endswith("FAIL_FAST")


def test_tasks_wait_for_what_they_read(written: Written) -> None:
    for node in compiled_lib.read(written.ir).ir.nodes:
        node_id = node.pipeline_node.node_info.id
        upstream = set(written.task(node_id).get("dependentTasks", []))
        assert upstream >= set(node.pipeline_node.upstream_nodes)
    assert "dependentTasks" not in written.task("ExampleGen")


def test_nodes_behind_a_gate_are_not_started_once_it_refused(written: Written) -> None:
    told = "inputs.parameter_values['DataGate_state'] != 'refused'"
    for node in ("Transform", "Trainer", "Evaluator", "Pusher"):
        assert written.task(node)["triggerPolicy"] == {"condition": told}
    for node in ("ExampleGen", "DataGate"):
        assert "triggerPolicy" not in written.task(node)


def test_vertex_caches_nothing_and_tries_again_as_asked(written: Written) -> None:
    tasks = written.content["pipelineSpec"]["root"]["dag"]["tasks"]
    assert all(task["cachingOptions"] == {"enableCache": False} for task in tasks.values())
    assert written.task("ExampleGen")["retryPolicy"]["maxRetryCount"] == 1
    assert written.task("Trainer")["retryPolicy"]["maxRetryCount"] == 4
    assert "retryPolicy" not in written.task("Evaluator")


def test_a_container_runs_its_node_on_what_it_asks_for(written: Written) -> None:
    transform = written.executor("Transform")
    command = [*transform["command"], *transform["args"]]
    ir = next(part for part in command if part.endswith(".ir.json"))
    assert ir.startswith("/gcs/bucket/staging/assay/taxi_fares/")
    assert command[command.index("--node") + 1] == "Transform"
    assert command[command.index("--skip-exit-code") + 1] == "0"
    assert transform["resources"]["cpuLimit"] == 8
    assert transform["resources"]["memoryLimit"] == 32
    assert {e["name"]: e["value"] for e in transform["env"]} == {"LOG": "quiet", "MORE": "1"}
    evaluator = written.executor("Evaluator")["resources"]["accelerator"]
    assert (evaluator["type"], evaluator["count"]) == ("NVIDIA_TESLA_T4", "1")
    assert "resources" not in written.executor("ExampleGen")


def test_machines_that_a_container_cannot_ask_for_are_a_custom_job(written: Written) -> None:
    args = written.executor("Trainer")["args"]
    job = CustomJob()
    json_format.ParseDict(json.loads(args[args.index("--payload") + 1]), CustomJob.pb(job))
    spec = job.job_spec
    assert [pool.replica_count for pool in spec.worker_pool_specs] == [1, 2]
    for pool in spec.worker_pool_specs:
        assert pool.machine_spec.machine_type == "n1-standard-8"
        assert pool.machine_spec.accelerator_type.name == "NVIDIA_TESLA_T4"
        assert pool.machine_spec.accelerator_count == 2
        assert pool.disk_spec.boot_disk_size_gb == 200
        assert pool.container_spec.image_uri.endswith("assay-gpu:1")
        assert pool.container_spec.command == ["python", "-m", "tfx_pipeline.runners.vertex.task"]
    assert spec.scheduling.strategy.name == "SPOT"
    assert spec.scheduling.timeout.total_seconds() == 5400
    assert spec.scheduling.restart_job_on_worker_restart
    assert spec.service_account == written.content["serviceAccount"]
    assert spec.network == written.content["network"]
    assert dict(job.labels) == {"team": "fares"}
    assert job.encryption_spec.kms_key_name == written.content["encryptionSpec"]["kmsKeyName"]
    assert args[args.index("--location") + 1] == "europe-west4"


def test_what_is_written_says_where_things_are_in_the_image_and_tells_no_secret(
    written: Written,
) -> None:
    content = written.ir.read_text()
    folder = str(written.config.folder)
    # The config's own path is kept for messages alone.
    assert content.count(folder) == 1
    assert json.loads(content)["source"].startswith(folder)
    assert r"\"folder\": \"/pipeline\"" in content
    assert "/pipeline/schema.pbtxt" in content
    for path in (written.job, written.yaml):
        assert folder not in path.read_text()
    code = compile_config(written.config).ir.SerializeToString()
    [fingerprint] = [
        line
        for line in content.split('\\"')
        if len(line) == 64 and set(line) <= set("0123456789abcdef")
    ][:1]
    assert fingerprint.encode() in code


def test_the_same_config_gives_the_same_files(written: Written, tmp_path: Path) -> None:
    again = write_spec(compile_config(deployed(written.config)), tmp_path)
    first = (written.ir, written.yaml, written.job)
    assert [path.read_text() for path in again] == [path.read_text() for path in first]


def test_kubeflow_gets_one_document_more_and_no_vertex_job(
    tmp_path: Path, load: Callable[[Path], dict[str, object]]
) -> None:
    text = YAML.replace("/gcs/bucket", "/data")
    trainer = text.index("      Trainer:")
    text = text[:trainer] + "      Trainer: {accelerator_type: NVIDIA_TESLA_T4}\n" + KUBEFLOW
    config = make_project(tmp_path / "project", text.replace("strategy: multi_worker", ""))
    ir, spec = write_spec(compile_config(deployed(config)), tmp_path / "out")
    found = load(spec)
    assert found["mounts"] == ["/data"]
    assert "example-gen" in found["tasks"]  # type: ignore[operator]
    document, platform = yaml.safe_load_all(spec.read_text())
    executors = document["deploymentSpec"]["executors"]
    gpu = executors["exec-trainer"]["container"]["resources"]["accelerator"]
    assert (gpu["type"], gpu["count"]) == ("nvidia.com/gpu", "1")
    task = document["root"]["dag"]["tasks"]["trainer"]
    # A name that a person gave to a run may be no folder's; and every task starts.
    assert task["inputs"]["parameters"] == {
        "run_id": {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
    }
    assert "triggerPolicy" not in task
    [secret] = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-trainer"][
        "secretAsEnv"
    ]
    assert secret["keyToEnv"] == [{"secretKey": "password", "envVar": "ASSAY_METADATA_PASSWORD"}]
    assert "--secret" not in executors["exec-trainer"]["container"]["args"]
    assert "/data/assay/taxi_fares/" in spec.read_text()
    assert ir.name == "taxi_fares.ir.json"


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("backend: postgresql", "backend: sqlite", "run.metadata.backend"),
        ("/gcs/bucket/runs", "runs", "run.root"),
        ("/gcs/bucket/runs", "/gcs-is-not/this", "run.root"),
        ("/gcs/bucket/data/", "/mnt/data/", "data.path[0]"),
        ("/gcs/bucket/models", "../models", "serve.push_dir"),
        ("schema.pbtxt", "../schema.pbtxt", "gates.data.schema_path"),
        ("own.py", "/somewhere/own.py", "features.preprocessing_fn"),
        (
            "multi_worker}",
            "multi_worker, augment: {text: {synonyms: ../words.txt}}}",
            "train.augment.text.synonyms",
        ),
        (
            "multi_worker}",
            "multi_worker}\ntune: {space: {train.augment.text.synonyms: {choice: [../a.txt]}}}",
            "train.augment.text.synonyms",
        ),
        ("    project: my-project\n", "", "run.vertex.project"),
        ("    staging: gs://bucket/staging\n", "", "run.vertex.staging"),
        ("multi_worker", "mirrored", "run.vertex.nodes.Trainer.replica_count"),
        (
            "password_secret: projects/my-project/secrets/mlmd/versions/latest",
            "retries: 2",
            "run.vertex.password_secret",
        ),
    ],
)
def test_what_containers_could_not_run_is_refused_with_field_and_line(
    tmp_path: Path, old: str, new: str, field: str
) -> None:
    assert old in YAML
    config = make_project(tmp_path, YAML.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        check(config)
    assert refused.value.where == config.place(field)
    assert refused.value.where.rpartition(":")[2].isdigit()
    assert refused.value.hint


def test_a_node_that_does_not_exist_is_told(tmp_path: Path) -> None:
    config = make_project(tmp_path, YAML.replace("      Transform:", "      Transfrm:"))
    with pytest.raises(ConfigError, match="no such node: Transfrm"):
        write_spec(compile_config(deployed(config)), tmp_path / "out")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{cpu: 8, memory_gb", "{machine_type: n1-standard-4, memory_gb", "leave out cpu"),
        ("{cpu: 8, memory_gb: 32,", "{spot: true,", "need a machine_type"),
        ("      Transform: {cpu: 8, memory_gb: 32", "      Transform: {machine_type: m, "
         "replica_count: 2", "only the Trainer"),
        ("{team: fares}", "{Team: fares}", "a label is lowercase"),
        ("reserved_ip_ranges", "network_attachment: a\n    reserved_ip_ranges", "not both"),
        ("gs://bucket/staging", "s3://bucket/staging", "staging"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_is_an_error_of_the_config(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        make_project(tmp_path, YAML.replace(old, new))
