"""What `compress` refuses before it reads anything, and what it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import ConfigError
from trainer.compression.config import CompressConfig
from trainer.compression.run import _rows_needed, compress, load_parent
from trainer.loading import TrainerConfig


def test_several_workers_are_refused(context: Any, tmp_path: Path) -> None:
    given = {
        "transform": context.transform.model_dump(),
        "train": {"strategy": "multi_worker"},
        "compress": {},
    }
    with pytest.raises(ConfigError, match="multi_worker, and compression runs in one") as refused:
        compress(
            keras_model=tmp_path / "keras_model.h5",
            transform_graph=str(tmp_path),
            train_files=[],
            val_files=[],
            custom_config=given,
            folder=tmp_path / "ladder",
        )
    assert "compress: off" in refused.value.hint


def test_a_parent_with_layers_of_the_users_run_fn(context: Any, users_model: Path) -> None:
    """As a run that is resumed finds it: the Trainer ran in another process."""
    config = TrainerConfig.read(
        {
            "transform": context.transform.model_dump(),
            "train": {"run_fn": "mine.py:run_fn"},
            "folder": str(users_model.parent),
        }
    )
    parent = load_parent(users_model, config, context.strategy)
    assert parent({"x": np.array([[3.0]])}).numpy() == 6.0


@pytest.mark.parametrize(
    ("candidates", "rows"),
    [
        ("auto", 756),
        ([{"method": "int8", "representative_rows": 1000}, {"method": "prune"}], 1256),
        ([{"method": "prune"}], 512),
    ],
)
def test_rows_to_compare_on_are_read_behind_those_to_calibrate_on(
    candidates: Any, rows: int
) -> None:
    assert _rows_needed(CompressConfig(candidates=candidates)) == rows
