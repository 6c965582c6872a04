"""Tuner: TFX's own, searching in a folder that outlives a kill."""

from tfx_pipeline.components.tuner.component import Tuner

__all__ = ["Tuner"]
