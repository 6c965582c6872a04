"""`assay run-node` on the real graph, after `assay run` has run it: one lineage, one cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.lineage import lineage
from tests.e2e.project import NODES, Project, Result
from tfx_pipeline.report import record as records

pytestmark = pytest.mark.slow

# In the place of the real ones: who imports them leaves a trace, and fails.
_TRAP = (
    "import pathlib, os; pathlib.Path(os.environ['TRAP'], __name__).touch(); raise SystemExit(77)"
)


@pytest.fixture(scope="module")
def cached(
    first: tuple[Project, Result], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, dict[str, subprocess.CompletedProcess[str]], list[str]]:
    """Every node by a command of its own, in an environment where TensorFlow cannot be imported.

    Returns:
        The project, each node's command, and which of the packages were imported all the same.
    """
    project, _ = first
    trap = tmp_path_factory.mktemp("trap")
    for package in ("tensorflow", "apache_beam", "tensorflow_model_analysis"):
        (trap / "packages" / package).mkdir(parents=True)
        (trap / "packages" / package / "__init__.py").write_text(_TRAP)
    out = project.folder / "compiled"
    assert project.assay("compile", "-o", str(out)).code == 0
    environment = {**os.environ, "PYTHONPATH": str(trap / "packages"), "TRAP": str(trap)}
    done = {
        node: subprocess.run(
            [Path(sys.executable).with_name("assay"), "run-node", out / "small.ir.json",
             "--node", node, "--run-id", "orchestrated", "--runner", "airflow"],
            env=environment, capture_output=True, text=True, check=False,
        )
        for node in NODES
    }  # fmt: skip
    return project, done, [path.name for path in trap.iterdir() if path.is_file()]


def test_a_cached_node_imports_no_tensorflow(
    cached: tuple[Project, dict[str, subprocess.CompletedProcess[str]], list[str]],
) -> None:
    _, done, imported = cached
    assert {node: process.returncode for node, process in done.items()} == dict.fromkeys(NODES, 0)
    assert not imported


def test_its_output_is_a_few_calm_lines(
    cached: tuple[Project, dict[str, subprocess.CompletedProcess[str]], list[str]],
) -> None:
    _, done, _ = cached
    assert done["Trainer"].stdout.splitlines()[0].startswith("Trainer cached, ")
    assert not any(process.stderr for process in done.values())


def test_lineage_is_that_of_the_local_runs_second_run(
    cached: tuple[Project, dict[str, subprocess.CompletedProcess[str]], list[str]],
) -> None:
    project, _, _ = cached
    second = project.run()
    theirs = lineage(project.database, "orchestrated", contents=True)
    assert theirs == lineage(project.database, second.run_id, contents=True)


def test_assay_show_knows_the_run(
    cached: tuple[Project, dict[str, subprocess.CompletedProcess[str]], list[str]],
) -> None:
    project, _, _ = cached
    record = records.load(project.config.root, "orchestrated")
    assert (record.state, record.runner) == ("complete", "airflow")
    assert record.verdicts["Evaluator"]["blessed"]
    assert record.pushed_to
    shown = project.assay("show", "orchestrated", "-c")
    assert "by airflow  complete" in shown.terminal
