"""The lint of the serving gate's budgets."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.lint import gates as gate_checks
from tfx_pipeline.lint import serving as checks
from tfx_pipeline.lint.registry import Problem


def _config(**sections: Any) -> PipelineConfig:
    return PipelineConfig.model_validate(
        {
            "name": "p",
            "data": {"path": "x", "label": {"column": "y", "classes": ["a", "b"]}},
            "features": {"columns": {"x": {"kind": "numeric"}}},
            **sections,
        }
    )


def _problems(config: PipelineConfig) -> list[Problem]:
    found = (
        checks.compression_is_bounded,
        checks.candidates_fit_together,
        checks.budgets_can_be_met,
        checks.slices_are_named,
        checks.address_has_a_port,
    )
    return [problem for check in found for problem in check(config)]


@pytest.mark.parametrize(
    ("sections", "where", "what"),
    [
        ({"compress": "auto"}, "compress", "how much worse"),
        (
            {
                "gates": {"quality": {"thresholds": [{"metric": "auc", "max_drop": 0.01}]}},
                "compress": {"candidates": [{"method": "int8", "of": "prune_80"}]},
            },
            "compress.candidates[0].of",
            "there is no such candidate",
        ),
        (
            {"gates": {"latency_p99_ms": {"max": math.inf}}},
            "gates.latency_p99_ms.max",
            "not a finite",
        ),
        ({"gates": {"size_bytes": {"max": 30}}}, "gates.size_bytes.max", "as small as 30 bytes"),
        (
            {"gates": {"size_bytes": {"max": 500, "of": "gzip"}}},
            "gates.size_bytes.max",
            "as small as 500 bytes",
        ),
        (
            {"gates": {"memory_mb": {"max_ratio": 0.5}}},
            "gates.memory_mb.max_ratio",
            "only the float",
        ),
        ({"gates": {"slices": {"max_drop": 0.1}}}, "gates.slices", "names no columns"),
        (
            {
                "gates": {
                    "slices": {"max_drop": 0.1, "metric": "mse"},
                    "quality": {"slices": [["x"]]},
                }
            },
            "gates.slices.metric",
            "no metric 'mse'",
        ),
        ({"serve": {"address": "localhost:99999"}}, "serve.address", "no port 99999"),
    ],
)
def test_budgets_that_cannot_be_meant(sections: Any, where: str, what: str) -> None:
    [problem] = _problems(_config(**sections))
    assert problem.field == where
    assert what in problem.what
    assert problem.hint


@pytest.mark.parametrize("tolerance", [0.02, -1e-4, math.inf, math.nan])
def test_a_tolerance_that_lets_everything_pass_is_none(tolerance: float) -> None:
    with pytest.raises(ValidationError, match="tolerance"):
        _config(gates={"skew": {"tolerance": tolerance}})


def test_sound_budgets_are_not_complained_of() -> None:
    quality = {"thresholds": [{"metric": "auc", "min": 0.9, "max_drop": 0.003}], "slices": [["x"]]}
    config = _config(
        compress="auto",
        gates={
            "quality": quality,
            "slices": {"max_drop": 0.01},
            "size_bytes": {"max": 50_000, "max_ratio": 0.3},
            "latency_p99_ms": {"max_ratio": 1.0},
            "objective": "fastest",
        },
        serve={"address": "localhost:8500"},
    )
    assert _problems(config) == []


def test_a_drop_alone_does_not_bless_the_float_model() -> None:
    config = _config(gates={"quality": {"thresholds": [{"metric": "auc", "max_drop": 0.01}]}})
    [problem] = gate_checks.quality_gate_can_bless(config)
    assert problem.field == "gates.quality.thresholds"
