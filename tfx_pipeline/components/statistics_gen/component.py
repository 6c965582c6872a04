"""TFX's StatisticsGen, incremental; inputs, outputs and parameters are the stock ones."""

from __future__ import annotations

from tfx.components.statistics_gen import component as stock
from tfx.dsl.components.base import executor_spec

from tfx_pipeline.components.statistics_gen.executor import Executor


class StatisticsGen(stock.StatisticsGen):  # type: ignore[misc]
    """TFDV's statistics of each split; shards that an earlier run has seen are not read again."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
