"""TFX's Pusher with its executor and driver exchanged; its interface is the stock one."""

from __future__ import annotations

from tfx.components.pusher import component as stock
from tfx.dsl.components.base import executor_spec

from tfx_pipeline.components.pusher.driver import Driver
from tfx_pipeline.components.pusher.executor import Executor, probe_of


class Pusher(stock.Pusher):  # type: ignore[misc]
    """Pushes a blessed model into a version folder for TensorFlow Serving, by one rename.

    It is cached only while the newest version in the folder is what it has pushed.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    @property
    def needs_tensorflow(self) -> bool:
        """For `assay run-node`: only where the server in production is asked, in its messages."""
        return probe_of(self.exec_properties) is not None
