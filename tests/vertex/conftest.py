"""A config with all that `run.vertex` can say, and what it compiles to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tfx_pipeline.config import PipelineConfig, load_config
from tfx_pipeline.runners.compiled import compile_config
from tfx_pipeline.runners.vertex.compile import deployed, write_spec

YAML = """\
name: taxi_fares
data:
  path: /gcs/bucket/data/trips-*.csv
  label: {column: tip, classes: ["0", "1"]}
features:
  preprocessing_fn: own.py:preprocess
  columns:
    miles: {kind: numeric}
train: {strategy: multi_worker}
gates:
  data: {schema_path: schema.pbtxt}
  quality: {thresholds: [{metric: auc, min: 0.6}]}
serve: {push_dir: /gcs/bucket/models/taxi}
run:
  root: /gcs/bucket/runs
  metadata: {backend: postgresql, host: 10.0.0.3, user: assay}
  vertex:
    project: my-project
    region: europe-west4
    image: europe-west4-docker.pkg.dev/my-project/ml/assay:1
    staging: gs://bucket/staging
    service_account: runner@my-project.iam.gserviceaccount.com
    labels: {team: fares}
    encryption_key: projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k
    network: projects/123/global/networks/vpc
    reserved_ip_ranges: [vertex-range]
    password_secret: projects/my-project/secrets/mlmd/versions/latest
    env: {LOG: quiet}
    fail_fast: true
    nodes:
      Transform: {cpu: 8, memory_gb: 32, env: {MORE: "1"}}
      Evaluator: {accelerator_type: NVIDIA_TESLA_T4, retries: 0}
      Trainer:
        machine_type: n1-standard-8
        accelerator_type: NVIDIA_TESLA_T4
        accelerator_count: 2
        replica_count: 3
        boot_disk_gb: 200
        spot: true
        timeout_hours: 1.5
        image: europe-west4-docker.pkg.dev/my-project/ml/assay-gpu:1
        retries: 4
"""


@dataclass(frozen=True)
class Written:
    """A config and the files that `write_spec` made of it."""

    config: PipelineConfig
    ir: Path
    yaml: Path
    job: Path

    @property
    def content(self) -> dict[str, Any]:
        """The PipelineJob."""
        found: dict[str, Any] = json.loads(self.job.read_text())
        return found

    def executor(self, node: str) -> dict[str, Any]:
        """The container of a node's executor."""
        executors = self.content["pipelineSpec"]["deploymentSpec"]["executors"]
        found: dict[str, Any] = executors[f"exec-{node}"]["container"]
        return found

    def task(self, node: str) -> dict[str, Any]:
        """A node's task."""
        found: dict[str, Any] = self.content["pipelineSpec"]["root"]["dag"]["tasks"][node]
        return found


def make_project(folder: Path, text: str = YAML) -> PipelineConfig:
    """A folder with a config, a function of the user's, and a schema."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.yaml").write_text(text)
    (folder / "own.py").write_text("def preprocess(inputs):\n    return inputs\n")
    (folder / "schema.pbtxt").write_text("")
    return load_config(folder)


@pytest.fixture(scope="package")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The config above, compiled."""
    folder = tmp_path_factory.mktemp("taxi")
    config = make_project(folder / "project")
    ir, yaml, job = write_spec(compile_config(deployed(config)), folder / "compiled")
    return Written(config, ir, yaml, job)
