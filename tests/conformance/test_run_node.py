"""`assay run-node`, the command that every orchestrator calls, two nodes at a time on SQLite."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import pipeline
from tests.conformance.commands import run_commands
from tests.conformance.pipeline import UPSTREAM
from tests.conformance.suite import FAILED, Conformance, Run, Runner, reference
from tfx_pipeline.config import PipelineConfig
from tfx_pipeline.runners.compiled import compile_config, write_to

__all__ = ["reference"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Commands(Runner):
    """A process a node."""

    def __init__(self, repo: Path) -> None:
        self._repo = repo
        self._ids = itertools.count(1)

    def start(self, config: PipelineConfig) -> Run:
        return self._run(config, f"run-{next(self._ids)}")

    def go_on(self, config: PipelineConfig, run: Run) -> Run:
        return self._run(config, run.run_id)

    def _run(self, config: PipelineConfig, run_id: str) -> Run:
        [path] = write_to(compile_config(config, pipeline.create), config.folder)

        def start(node: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [Path(sys.executable).with_name("assay"), "run-node", path, "--node", node,
                 "--run-id", run_id],
                env={**os.environ, "PYTHONPATH": str(self._repo)},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip

        nodes = run_commands(UPSTREAM, start)
        return Run(run_id, FAILED not in nodes.values(), nodes)


class TestRunNode(Conformance):
    @pytest.fixture(scope="class")
    def runner(self, repo: Path) -> Runner:
        return Commands(repo)
