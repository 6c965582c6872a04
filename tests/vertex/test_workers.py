"""Who drives a node that trains on several machines, and when the others end.

`test_real_graph.py` trains with two processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from tfx_pipeline.config import load_config
from tfx_pipeline.errors import SKIPPED_EXIT_CODE, EnvironmentMismatch, NodeFailed
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
run:
  root: runs
"""


def tf_config(kind: str, index: int, cluster: dict[str, list[str]]) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


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
    monkeypatch.setenv("TF_CONFIG", chief)
    with pytest.raises(typer.Exit), workers.leading(compiled, "A", "run"):
        raise typer.Exit(SKIPPED_EXIT_CODE)
    monkeypatch.setenv("TF_CONFIG", worker)
    workers.follow(read(compiled), "A", "run")


class Ended(BaseException):
    """In place of the process's end."""


def test_what_the_chief_has_outlives_a_lost_worker(
    compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To TFX it looks like a kill, which leaves the outputs, checkpoints among them, in place."""
    from tfx_pipeline.runners.lone_node import run_lone_node

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    found = read(compiled)
    run_lone_node(found, "Source", "run")
    hosts = {"chief": ["a:1"], "worker": ["b:1"]}
    monkeypatch.setenv("TF_CONFIG", tf_config("chief", 0, hosts))
    operators = workers.operators(found, "A", "run")
    (tmp_path / "A").write_text("worker lost")
    with pytest.raises(Ended) as ended, workers.leading(compiled, "A", "run"):
        run_lone_node(found, "A", "run", operators=operators)
    assert ended.value.args == (NodeFailed.exit_code,)
    [left] = (tmp_path / "runs" / "artifacts" / "A" / "out").iterdir()
    (tmp_path / "A").unlink()
    outcome, record = run_lone_node(found, "A", "run", operators=operators)
    assert outcome.state == "complete"
    assert record.nodes["A"].artifacts["out"][0].uri.startswith(str(left))


def test_a_failure_of_an_earlier_start_is_not_taken_for_this_one(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that starts before the chief, on machines where training has failed before."""
    worker = os.environ["TF_CONFIG"]
    monkeypatch.setenv("TF_CONFIG", tf_config("chief", 0, json.loads(worker)["cluster"]))
    with pytest.raises(KeyError), workers.leading(compiled, "A", "run"):
        raise KeyError("x")
    follower = subprocess.Popen(
        [sys.executable, "-c", FOLLOW, str(compiled)],
        env={**os.environ, "TF_CONFIG": worker}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert follower.stdout is not None
    assert follower.stdout.readline() == "waits\n"
    time.sleep(1)
    with workers.leading(compiled, "A", "run"):
        pass
    assert follower.wait(30) == 0


FOLLOW = """
import sys
from pathlib import Path
from tfx_pipeline.runners import workers
from tfx_pipeline.runners.compiled import read
found = read(Path(sys.argv[1]))
vertex = found.config.run.vertex.model_copy(update={"worker_wait_seconds": 30})
found = type(found)(found.ir, found.config.with_run(vertex=vertex))
print("waits", flush=True)
workers.follow(found, "A", "run")
"""
