"""The serving gate's metrics of answers are those that the quality gate has TFMA compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.gates.metrics import metrics_of
from tfx_pipeline.gates.serving.quality import estimate
from tfx_pipeline.gates.serving.rows import HeldOut, as_array, held_out
from tfx_pipeline.gates.verdict import Verdict

pytestmark = pytest.mark.slow
Evaluate = Callable[..., tuple[Verdict, Any]]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_metric_of_every_slice_is_tfmas(
    task: Any, config: Callable[..., PipelineConfig], evaluate: Evaluate, small: Any
) -> None:
    slices = [["group"], ["group", "y_multiclass"]]
    verdict, _ = evaluate(config(task, slices=slices))
    model = small.model(task, "good") / "Format-Serving"
    rows = held_out(small.examples / "Split-eval", model, slices)
    quality, _ = estimate(task, rows, {"m": _answers(model, rows)}, (), resamples=10, seed=1)
    assert set(quality["m"]) == set(verdict.metrics)
    for name, metrics in quality["m"].items():
        assert set(metrics) == set(metrics_of(task))
        for metric, found in metrics.items():
            expected = verdict.metrics[name][metric]
            value = np.nan if expected is None else expected
            assert found.value == pytest.approx(value, rel=1e-6, nan_ok=True), (name, metric)
            assert found.rows == verdict.metrics[name]["example_count"]


def _answers(model: Path, rows: HeldOut) -> Any:
    from serving.server import saved_model

    loaded = saved_model.load(model)
    examples = {"examples": as_array(rows.serialized)}
    predictions = loaded.run("serving_default", examples, ["predictions"])["predictions"]
    loaded.close()
    return predictions.astype(np.float64)
