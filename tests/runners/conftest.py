"""A small real pipeline for the runner's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runners.remembering import Remembering
from tfx_pipeline.config import PipelineConfig, load_config

YAML = """
name: doubles
data:
  path: data.csv
  label: {column: y, classes: ["0", "1"]}
features:
  columns:
    x: {kind: numeric}
run:
  retry_wait_seconds: 0
  memory_per_node_mb: 1
"""


@pytest.fixture
def display() -> Remembering:
    return Remembering()


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    path = tmp_path / "pipeline.yaml"
    path.write_text(YAML)
    return load_config(path)
