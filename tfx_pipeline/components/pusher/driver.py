"""Driver of Pusher: its result is reused only while the newest version is what it has pushed."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_driver as authored
from tfx.orchestration.portable import base_driver, data_types
from tfx.proto.orchestration import driver_output_pb2

from tfx_pipeline.components.pusher.executor import PUSH_ID_KEY, Executor, local_base
from tfx_pipeline.components.pusher.versions import newest_push

log = logging.getLogger(__name__)


# A component asks for the one base class, the launcher for the other.
class Driver(base_driver.BaseDriver, authored.BaseDriver):  # type: ignore[misc]
    """Adds the execution property `push_id`, and with it the destination to the cache key.

    Servers take the highest version, so a push is in effect only while its version is the newest:
    not after another model was pushed, nor after the folder was deleted. The id is kept in the
    version's folder. If the newest version holds this very model, its id is given again, which is
    that of the execution that pushed it: the cache hits. Otherwise the id is new, nothing is cached
    under it, and the model is pushed again, under a new number.
    """

    def __init__(self, mlmd_connection: Any = None, metadata_handle: Any = None) -> None:
        """The launcher gives a connection; InteractiveContext a handle, and it asks for no id."""
        base_driver.BaseDriver.__init__(self, mlmd_connection)
        authored.BaseDriver.__init__(self, metadata_handle)

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Gives the id; empty, and so the same each time, where the executor will not use it."""
        result = driver_output_pb2.DriverOutput()
        result.exec_properties[PUSH_ID_KEY].string_value = _push_id(execution_info)
        return result


def _push_id(execution_info: data_types.ExecutionInfo) -> str:
    try:
        base = local_base(execution_info.exec_properties)
        executor = Executor()
        if base is None or not executor.CheckBlessing(execution_info.input_dict):
            return ""
        model = Path(executor.GetModelPath(execution_info.input_dict).removeprefix("file://"))
        return newest_push(base, model) or uuid.uuid4().hex
    except Exception:
        # After a driver that raises the execution stays RUNNING for ever: the launcher marks it as
        # failed only when the executor raises. That one will meet the same error.
        log.exception("the destination of the push cannot be compared with the model")
        return uuid.uuid4().hex
