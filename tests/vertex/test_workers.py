"""Training on two machines: one drives the node, the other only trains. Two processes here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conformance.lineage import lineage
from tests.trainer.conftest import Transformed, transform
from tests.vertex.scheduler import free_port
from tfx_pipeline.config import PipelineConfig, load_config
from tfx_pipeline.errors import EnvironmentMismatch, NodeFailed
from tfx_pipeline.report import record as records
from tfx_pipeline.runners import workers
from tfx_pipeline.runners.compiled import compile_config, read, write_to

YAML = """\
name: together
data:
  path: data.csv
  label: {column: y, classes: ["0", "1"]}
features:
  columns:
    x: {kind: numeric}
    z: {kind: numeric}
train: {strategy: multi_worker, steps: 60, steps_per_epoch: 30, batch_size: 32}
run:
  root: runs
"""


def tf_config(kind: str, index: int, cluster: dict[str, list[str]]) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@dataclass
class Project:
    """A pipeline of three nodes, the last of which is the stock Trainer with our `run_fn`."""

    config: PipelineConfig
    ir: Path

    def node(self, node: str, run_id: str, tf_config: str = "") -> subprocess.Popen[str]:
        command = [Path(sys.executable).with_name("assay"), "run-node", self.ir, "--node", node]
        return subprocess.Popen(
            [*command, "--run-id", run_id],
            env={**os.environ, "TF_CONFIG": tf_config},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def together(self, run_id: str) -> dict[str, tuple[int, str]]:
        """Runs chief and worker of the Trainer; exit code and output of each."""
        hosts = {kind: [f"localhost:{free_port()}"] for kind in ("chief", "worker")}
        processes = {
            kind: self.node("Trainer", run_id, tf_config(kind, 0, hosts)) for kind in hosts
        }
        said = {kind: process.communicate(timeout=400)[0] for kind, process in processes.items()}
        return {kind: (process.returncode, said[kind]) for kind, process in processes.items()}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("together")
    (folder / "pipeline.yaml").write_text(YAML)
    config = load_config(folder)
    random = np.random.default_rng(1)
    raw = {}
    for split, rows in {"train": 400, "val": 100}.items():
        x, z = random.normal(size=(2, rows)).astype(np.float32)
        raw[split] = {"x": x, "z": z, "y": (x + z > 0).astype(np.int64).astype(str)}
    data = transform(folder / "transformed", config.transform, raw)
    compiled = compile_config(config, lambda config: create(config, data))
    [ir] = write_to(compiled, folder)
    return Project(config, ir)


def create(config: PipelineConfig, data: Transformed) -> Any:
    from tfx import v1 as tfx
    from tfx.proto import trainer_pb2
    from tfx.types import standard_artifacts

    from tfx_pipeline.graph import _trainer_config
    from tfx_pipeline.runners import mlmd

    examples = tfx.dsl.Importer(
        source_uri=str(data.folder),
        artifact_type=standard_artifacts.Examples,
        properties={"split_names": '["train", "val"]'},
    ).with_id("Examples")
    graph = tfx.dsl.Importer(
        source_uri=data.graph, artifact_type=standard_artifacts.TransformGraph
    ).with_id("Graph")
    trainer = tfx.components.Trainer(
        run_fn=config.train.run_fn,
        examples=examples.outputs["result"],
        transform_graph=graph.outputs["result"],
        train_args=trainer_pb2.TrainArgs(splits=["train"], num_steps=config.train.steps),
        eval_args=trainer_pb2.EvalArgs(splits=["val"]),
        custom_config=_trainer_config(config),
    )
    return tfx.dsl.Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(config.root / "artifacts"),
        components=[examples, graph, trainer],
        enable_cache=True,
        metadata_connection_config=mlmd.connection_config(config),
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_chief_drives_and_the_worker_only_trains(project: Project) -> None:
    for run_id in ("first", "second"):
        for node in ("Examples", "Graph"):
            process = project.node(node, run_id)
            said, _ = process.communicate(timeout=200)
            assert process.returncode == 0, said
        ended = project.together(run_id)
        assert {kind: code for kind, (code, _) in ended.items()} == {"chief": 0, "worker": 0}, ended
        assert "this replica is done" in ended["worker"][1]
    root = project.config.root
    # Of both processes one spoke to ML Metadata, once.
    trained = [e for e in lineage(root / "metadata.db", "first") if e["node"].endswith("Trainer")]
    assert [entry["state"] for entry in trained] == ["COMPLETE"]
    record = records.load_exactly(root, "first").nodes["Trainer"]
    assert record.state == "complete"
    assert record.training is not None
    assert record.training.steps == 60
    assert record.training.val_loss is not None
    assert record.training.val_loss < 0.3  # It learned; 0.69 is a guess.
    [model] = record.artifacts["model"]
    assert (Path(model.uri) / "Format-Serving" / "saved_model.pb").exists()
    [run] = record.artifacts["model_run"]
    assert (Path(run.uri) / "keras_model.h5").exists()
    assert not list(Path(run.uri).glob("worker-*"))
    # Both took part to the last step.
    for log in ("Trainer.log", "Trainer.worker-0.log"):
        text = (root / "first" / "logs" / log).read_text()
        assert "MultiWorkerMirroredStrategy with cluster_spec" in text
        assert "60 steps, loss" in text
    # The second run found the model in the cache, and sent the worker home.
    assert records.load_exactly(root, "second").nodes["Trainer"].state == "cached"


def test_who_the_chief_is(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    flat = {"worker": ["b:1", "c:1"]}
    for kind, index, cluster, follows in (
        ("chief", 0, both, False),
        ("worker", 0, both, True),
        ("worker", 1, both, True),
        ("worker", 0, flat, False),
        ("worker", 1, flat, True),
        ("chief", 0, {"chief": ["a:1"]}, False),
    ):
        monkeypatch.setenv("TF_CONFIG", tf_config(kind, index, cluster))
        assert workers.is_follower() is follows
    monkeypatch.setenv("TF_CONFIG", tf_config("chief", 0, {"chief": ["a:1"]}))
    assert workers.cluster() is None  # Vertex sets it for a single machine, too.
    monkeypatch.setenv("TF_CONFIG", "{")
    with pytest.raises(EnvironmentMismatch, match="TF_CONFIG"):
        workers.is_follower()


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiled pipeline of two replicas, of which this process is the worker."""
    from tests.runners import doubles

    (tmp_path / "pipeline.yaml").write_text(
        YAML + "  vertex: {worker_wait_seconds: 1}\n",
    )
    [ir] = write_to(compile_config(load_config(tmp_path), doubles.create), tmp_path)
    hosts = {"chief": ["a:1"], "worker": ["b:1"]}
    monkeypatch.setenv("TF_CONFIG", tf_config("worker", 0, hosts))
    return ir


def test_a_worker_does_not_wait_for_ever(compiled: Path) -> None:
    with pytest.raises(NodeFailed, match="within 1 s"):
        workers.follow(read(compiled), "A", "run")


def test_a_worker_ends_with_a_chief_that_failed_or_had_nothing_to_train(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chief = tf_config("chief", 0, {"chief": ["a:1"], "worker": ["b:1"]})
    worker = os.environ["TF_CONFIG"]
    monkeypatch.setenv("TF_CONFIG", chief)
    with pytest.raises(KeyError), workers.leading(compiled, "A", "run"):
        raise KeyError("x")
    monkeypatch.setenv("TF_CONFIG", worker)
    with pytest.raises(NodeFailed, match="the chief failed: KeyError"):
        workers.follow(read(compiled), "A", "run")
    monkeypatch.setenv("TF_CONFIG", chief)
    with workers.leading(compiled, "A", "run"):
        pass
    monkeypatch.setenv("TF_CONFIG", worker)
    workers.follow(read(compiled), "A", "run")
