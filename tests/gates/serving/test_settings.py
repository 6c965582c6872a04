"""What the config says of the measurements."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from tfx_pipeline.config.gates import GatesConfig
from tfx_pipeline.gates.serving.rows import MAX_ROWS
from tfx_pipeline.gates.serving.settings import Settings, settings_of


def test_time_limits_and_tolerance_are_the_configs() -> None:
    gates = GatesConfig.model_validate(
        {
            "measure": {"request_timeout_seconds": 90, "load_timeout_seconds": 300},
            "latency_p99_ms": {"max": 15},
            "skew": {"tolerance": 1e-3},
        }
    )
    found = settings_of(gates, 7.0)
    assert (found.request_timeout_s, found.load_timeout_s, found.start_timeout_s) == (90, 300, 7)
    assert (found.latency_budget_ms, found.tolerance) == (15, 1e-3)


def test_a_config_that_says_nothing_changes_nothing() -> None:
    assert settings_of(GatesConfig(), 60.0) == Settings()
    assert GatesConfig().measure.max_rows == MAX_ROWS
    assert not GatesConfig().judge_serving


@pytest.mark.parametrize("name", ["max_rows", "request_timeout_seconds", "load_timeout_seconds"])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_what_cannot_be_meant_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        GatesConfig.model_validate({"measure": {name: value}})
