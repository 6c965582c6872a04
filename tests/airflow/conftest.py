"""DAG files of the small pipeline of the conformance suite, one for each way to run nodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import pipeline
from tests.conformance.suite import make_config
from tfx_pipeline.runners.airflow.compile import dag_text
from tfx_pipeline.runners.compiled import Compiled, compile_config

# What has to be said for a container to run at all.
CONTAINERS: dict[str, dict[str, Any]] = {
    "process": {},
    "docker": {"run_in": "docker", "image": "assay:1"},
    "kubernetes": {"run_in": "kubernetes", "image": "assay:1", "ir_path": "/ml/doubles.ir.json"},
}

CompileWith = Callable[..., Compiled]
TextWith = Callable[..., str]


@pytest.fixture
def compile_with(tmp_path: Path) -> CompileWith:
    """Compiles with these fields of `run.airflow` (and more YAML below `run`)."""

    def compile_it(*, extra: str = "", **airflow: Any) -> Compiled:
        text = f"{extra}  airflow: {json.dumps(airflow)}\n"
        return compile_config(make_config(tmp_path / "project", text), pipeline.create)

    return compile_it


@pytest.fixture
def text_with(compile_with: CompileWith) -> TextWith:
    """The DAG file with these fields of `run.airflow`."""

    def text(*, extra: str = "", **airflow: Any) -> str:
        return dag_text(compile_with(extra=extra, **airflow))

    return text
