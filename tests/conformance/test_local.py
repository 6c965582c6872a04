"""The local runner, and TFX's own LocalDagRunner."""

from __future__ import annotations

import time

import pytest
from tfx.orchestration.local.local_dag_runner import LocalDagRunner

from tests.conformance import pipeline
from tests.conformance.lineage import connect, lineage
from tests.conformance.pipeline import NODES
from tests.conformance.suite import (
    DONE,
    FAILED,
    NOT_RUN,
    SKIPPED,
    Conformance,
    Run,
    Runner,
    reference,
)
from tests.runners.remembering import Remembering
from tfx_pipeline.config import PipelineConfig
from tfx_pipeline.errors import AssayError, GateRefused
from tfx_pipeline.report import record as records
from tfx_pipeline.runners.local import RunOptions, run_pipeline

__all__ = ["reference"]

_WORDS = {"complete": DONE, "cached": DONE, "reused": DONE, "failed": FAILED, "skipped": SKIPPED}


class Local(Runner):
    """`assay run`."""

    def start(self, config: PipelineConfig) -> Run:
        return self._run(config, RunOptions())

    def go_on(self, config: PipelineConfig, run: Run) -> Run:
        return self._run(config, RunOptions(resume=run.run_id))

    def _run(self, config: PipelineConfig, options: RunOptions) -> Run:
        ok = True
        try:
            run_pipeline(config, options, Remembering(), pipeline.create)
        except GateRefused:
            pass
        except AssayError:
            ok = False
        record = records.load(config.root, "latest")
        nodes = {name: _WORDS.get(node.state, NOT_RUN) for name, node in record.nodes.items()}
        return Run(record.run_id, ok, nodes)


class TfxLocal(Runner):
    """`LocalDagRunner().run(create_pipeline(config))`, as in a notebook."""

    retries = False
    goes_on = False
    keeps_records = False

    def start(self, config: PipelineConfig) -> Run:
        config.root.mkdir(exist_ok=True)
        time.sleep(0.01)  # Its run id is the time.
        ok = True
        try:
            LocalDagRunner().run(pipeline.create(config))
        except Exception:
            ok = False
        store = connect(self.store(config))
        run = max(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.id)
        found = lineage(self.store(config), run.name)
        states = {entry["node"].rpartition(".")[2]: entry["state"] for entry in found}
        rest = SKIPPED if ok else NOT_RUN
        words = {"COMPLETE": DONE, "CACHED": DONE, "FAILED": FAILED}
        return Run(run.name, ok, {node: words.get(states.get(node, ""), rest) for node in NODES})

    def go_on(self, config: PipelineConfig, run: Run) -> Run:
        return self.start(config)


class TestLocal(Conformance):
    @pytest.fixture(scope="class")
    def runner(self) -> Runner:
        return Local()


class TestLocalDagRunner(Conformance):
    @pytest.fixture(scope="class")
    def runner(self) -> Runner:
        return TfxLocal()
