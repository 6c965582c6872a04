"""Evaluator: TFX's own, with an executor whose gate fails closed and explains itself."""

from tfx_pipeline.components.evaluator.component import Evaluator

__all__ = ["Evaluator"]
