"""Models whose predictions mean different things are not compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serving.client.model_info import FILE
from tfx_pipeline.gates.same_answers import why_other_answers


def _model(folder: Path, description: dict[str, Any] | None) -> Path:
    if description is not None:
        (folder / FILE).parent.mkdir(parents=True)
        (folder / FILE).write_text(json.dumps(description))
    return folder


BINARY = {"task": "binary", "classes": ["no", "yes"], "columns": {"x": "float"}}
DECILES = {"task": "quantile", "classes": [], "quantiles": [0.1, 0.5, 0.9]}


@pytest.mark.parametrize(
    ("now", "before", "why"),
    [
        (BINARY, {**BINARY, "columns": {}}, ""),
        (BINARY, {**BINARY, "classes": ["yes", "no"]}, "its classes are ['yes', 'no'], not ['no'"),
        (BINARY, {**BINARY, "task": "regression"}, "its task is regression, not binary"),
        (DECILES, {**DECILES}, ""),
        (DECILES, {**DECILES, "quantiles": [0.05, 0.5, 0.95]}, "its quantiles are [0.05, 0.5, 0.9"),
        (DECILES, None, ""),
        (BINARY, {**BINARY, "classes": ["a name"] * 1000}, "..., not ['no', 'yes']"),
    ],
)
def test_what_predictions_mean(tmp_path: Path, now: Any, before: Any, why: str) -> None:
    folders = _model(tmp_path / "now", now), _model(tmp_path / "before", before)
    found = why_other_answers(*folders)
    assert why in found
    assert bool(found) == bool(why)
    assert len(found) < 250
