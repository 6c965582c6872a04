"""`assay init` as a fixture."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.init.tables import (
    Init,
    call,
)
from tfx_pipeline.config import load_config
from tfx_pipeline.config.pipeline import PipelineConfig


@pytest.fixture
def run_init(tmp_path: Path) -> Init:
    """Runs `assay init` on a text or a file and loads what it wrote."""

    def run(data: str | Path, label: str, *arguments: str) -> PipelineConfig:
        path = data
        if isinstance(data, str):
            path = tmp_path / "rows.csv"
            path.write_text(data, encoding="utf-8")
        output = tmp_path / "pipeline.yaml"
        flags = ("--data", str(path), "--label", label, "--output", str(output), *arguments)
        result = call(*flags)
        if result.exception:
            raise result.exception
        config = load_config(output)
        assert config.data.label.column == label
        return config

    return run
