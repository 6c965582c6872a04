"""A trial with LoRA: what its budgets bound is the model that is served, without LoRA's layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer.config import ModelConfig

pytestmark = pytest.mark.slow  # Trains.


def test_parameters_are_those_of_the_served_model(
    labelled: Any, folder: Path, tmp_path: Path
) -> None:
    from trainer.tuning.journal import read_trials
    from trainer.tuning.run import make_tuner

    model = {"text": {"encoder": "pretrained", "pretrained": {"path": str(folder)}}}
    make_tuner(
        custom_config={
            "transform": labelled.config.model_dump(mode="json"),
            "model": ModelConfig.model_validate(model).model_dump(mode="json"),
            "train": {"steps": 4, "batch_size": 20, "strategy": "default"},
            "tune": {
                "search": "grid",
                "space": {"model.text.pretrained.tune": {"choice": ["full", "lora"]}},
                "rounds": 2,
            },
        },
        transform_graph=labelled.graph,
        train_files=labelled.files("train"),
        val_files=labelled.files("val"),
        folder=str(tmp_path),
    ).search()
    full, lora = (trial.measured for trial in read_trials(tmp_path).trials)
    assert full["parameters"] == lora["parameters"]
