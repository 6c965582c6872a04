"""A trial of a recommender: what its budgets bound is the model that is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trainer.conftest import Transformed
from tests.trainer.recommend.conftest import MODEL

pytestmark = pytest.mark.slow  # Trains.


def test_parameters_are_those_of_the_served_model(
    films: Transformed, keras_model: Any, tmp_path: Path
) -> None:
    from trainer.tuning.journal import read_trials
    from trainer.tuning.run import make_tuner

    make_tuner(
        custom_config={
            "transform": films.config.model_dump(mode="json"),
            "model": MODEL.model_dump(mode="json"),
            "train": {"steps": 4, "batch_size": 64, "strategy": "default"},
            "tune": {
                "search": "grid",
                "space": {"train.l2": {"choice": [0.0]}},
                "rounds": 2,
                "budgets": {"latency_us": 1e9},
            },
        },
        transform_graph=films.graph,
        train_files=films.files("train"),
        val_files=films.files("val"),
        folder=str(tmp_path),
    ).search()
    [trial] = read_trials(tmp_path).trials
    assert trial.measured["parameters"] == keras_model.count_params()
    assert trial.measured["latency_us"] > 0
