"""TFX's Transform with a repeatable executor; inputs, outputs and parameters are the stock ones."""

from __future__ import annotations

from tfx.components.transform import component as stock
from tfx.dsl.components.base import executor_spec

from transform.executor import Executor


class Transform(stock.Transform):  # type: ignore[misc]
    """Turns raw columns into features: the same data and config give the same bits."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
