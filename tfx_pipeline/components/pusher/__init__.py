"""Pusher: TFX's own, with an executor that never leaves a half-written version."""

from tfx_pipeline.components.pusher.component import Pusher

__all__ = ["Pusher"]
