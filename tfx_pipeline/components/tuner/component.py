"""TFX's Tuner with a search that can be resumed; inputs, outputs and parameters are the stock
ones."""

from __future__ import annotations

from tfx.components.tuner import component as stock
from tfx.dsl.components.base import executor_spec

from tfx_pipeline.components.tuner.executor import Executor


class Tuner(stock.Tuner):  # type: ignore[misc]
    """Searches for better values of the config.

    Its `tuner_results` hold, beside TFX's `tuner_results.json`, the table of all trials as JSON and
    CSV, and their plot (`trainer.tuning.journal`).
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
