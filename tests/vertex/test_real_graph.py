"""The whole graph as Vertex would run it: the job's own commands, PostgreSQL, the user's code where
the image has it, and a Trainer on two machines."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.conformance.lineage import lineage
from tests.e2e.project import NODES, TAXI
from tests.runners.database_servers import PASSWORD, postgresql_server, short_folder
from tests.vertex.scheduler import SUCCEEDED, JobRun
from tfx_pipeline.config import load_config
from tfx_pipeline.report import record as records
from tfx_pipeline.runners import compiled as compiled_lib
from tfx_pipeline.runners import mlmd
from tfx_pipeline.runners.vertex import paths

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Calls Assay's own preprocessing, by way of a neighbour: both must come with the image.
OWN = """\
import copy

from neighbour import same
from transform.preprocessing import preprocessing_fn


def preprocess(inputs, custom_config):
    custom_config = copy.deepcopy(custom_config)
    custom_config["transform"]["features"].pop("preprocessing_fn")
    return same(preprocessing_fn(inputs, custom_config))
"""


@dataclass
class Deployed:
    """A compiled job, with all that it needs in buckets and image."""

    job: Path
    ir: Path
    bucket: Path
    folder: Path
    repo: Path

    def run(self, job_id: str) -> JobRun:
        job = json.loads(self.job.read_text())
        environment = {"PYTHONPATH": str(self.repo)}
        done = JobRun(job, job_id, self.folder / job_id, environment).run()
        print(done.logs())
        return done


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory: pytest.TempPathFactory, taxi_csv: Path, repo: Path
) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("graph")
    bucket = folder / "gcs" / "bucket"
    bucket.mkdir(parents=True)
    rows = taxi_csv.read_text().splitlines(keepends=True)[:3001]
    (bucket / "data.csv").write_text("".join(rows))
    with (
        pytest.MonkeyPatch.context() as environment,
        short_folder() as server,
        postgresql_server(server) as port,
    ):
        environment.setenv(paths.MOUNT_ENV, str(folder / "gcs"))
        environment.setenv("ASSAY_METADATA_PASSWORD", PASSWORD)
        project, image, out = folder / "project", folder / "image", folder / "compiled"
        write_project(project, bucket, image, port)
        assay = Path(sys.executable).with_name("assay")
        subprocess.run(
            [assay, "compile", "--to", "vertex", project, "-o", out], check=True, cwd=repo
        )
        # From here on the code is where the image has it, and nowhere else.
        shutil.move(project, image)
        ir = out / "small.ir.json"
        address = paths.ir_address(compiled_lib.read(ir).config, ir.read_text())
        uploaded = Path(paths.mounted(address))
        uploaded.parent.mkdir(parents=True)
        shutil.copy(ir, uploaded)
        yield Deployed(out / "small.vertex.json", ir, bucket, folder, repo)


def write_project(folder: Path, bucket: Path, image: Path, port: int) -> None:
    config = copy.deepcopy(TAXI)
    config["data"]["path"] = str(bucket / "data.csv")
    config["features"]["preprocessing_fn"] = "own.py:preprocess"
    config["train"]["strategy"] = "multi_worker"
    config["serve"] = {"push_dir": str(bucket / "models")}
    trainer = {"machine_type": "n1-standard-4", "replica_count": 2}
    config["run"] |= {
        "root": str(bucket / "runs"),
        "metadata": {
            "backend": "postgresql", "host": "127.0.0.1", "port": port, "user": "assay",
        },
        "vertex": {
            "project": "my-project", "image": "nodes:1", "staging": "gs://bucket/staging",
            "password_secret": "projects/p/secrets/s/versions/1", "project_dir": str(image),
            "retries": 0, "nodes": {"Trainer": trainer},
        },
    }  # fmt: skip
    folder.mkdir()
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(config))
    (folder / "own.py").write_text(OWN)
    (folder / "neighbour.py").write_text("def same(features):\n    return features\n")


def test_from_data_to_a_pushed_model_on_machines_that_share_a_bucket(deployed: Deployed) -> None:
    done = deployed.run("small-1")
    assert done.states == dict.fromkeys(NODES, SUCCEEDED)
    assert {p["state"] for p in done.parameters.values()} == {"complete"}
    record = records.load_exactly(deployed.bucket / "runs", "small-1")
    assert record.state == "complete"
    assert Path(record.pushed_to).parent == deployed.bucket / "models"
    trainer = record.nodes["Trainer"]
    assert trainer.training is not None
    assert trainer.training.steps == 40
    # These two need no TensorFlow; a node that went on with it would have said so in its log.
    logs = deployed.bucket / "runs" / "small-1" / "logs"
    for node in ("DataGate", "Pusher"):
        assert "without TensorFlow" not in (logs / f"{node}.log").read_text()
    # Both replicas trained to the end, and one of them spoke to ML Metadata.
    for log in ("Trainer.log", "Trainer.worker-0.log"):
        assert "MultiWorkerMirroredStrategy with cluster_spec" in (logs / log).read_text()
    assert "40 steps, loss" in (logs / "Trainer.worker-0.log").read_text()
    [run] = trainer.artifacts["model_run"]
    assert not list(Path(run.uri).glob("worker-*"))
    store = mlmd.connection_config(load_config(deployed.folder / "image"))
    trained = [e for e in lineage(store, "small-1") if e["node"].endswith("Trainer")]
    assert [entry["state"] for entry in trained] == ["COMPLETE"]
