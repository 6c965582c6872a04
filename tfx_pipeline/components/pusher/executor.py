"""Executor of Pusher: the stock one, but a local push appears whole, under its own number."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher import executor
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from tfx_pipeline.components.pusher.versions import publish
from tfx_pipeline.errors import storage_errors
from tfx_pipeline.gates.verdict import is_local

PUSH_ID_KEY = "push_id"
"""Execution property that the driver adds."""

_KEYS = standard_component_specs


class Executor(executor.Executor):  # type: ignore[misc]
    """Pushes to local folders by rename; to other file systems as the stock executor does."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if it is blessed; parameters are the stock ones.

        Args:
            input_dict: As in the stock executor.
            output_dict: As in the stock executor.
            exec_properties: The stock ones, and `push_id`, which our driver adds.

        Raises:
            StorageError: The destination cannot be written. Nothing is left there.
        """
        base = local_base(exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict[_KEYS.PUSHED_MODEL_KEY])
        if base is None or not is_local(pushed.uri):
            super().Do(input_dict, output_dict, exec_properties)
            return
        self._log_startup(input_dict, output_dict, exec_properties)
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        model = self.GetModelPath(input_dict)
        with storage_errors(pushed.uri):
            # The artifact's copy first: once the model is out, nothing more can fail.
            shutil.copytree(model, pushed.uri, copy_function=shutil.copyfile, dirs_exist_ok=True)
        version = publish(Path(model), base, push_id=exec_properties.get(PUSH_ID_KEY) or pushed.uri)
        self._MarkPushed(pushed, pushed_destination=str(version), pushed_version=version.name)


def local_base(exec_properties: dict[str, Any]) -> Path | None:
    """The local folder that is pushed to; None for any other destination."""
    destination = pusher_pb2.PushDestination()
    proto_utils.json_to_proto(exec_properties[_KEYS.PUSH_DESTINATION_KEY], destination)
    base = destination.filesystem.base_directory
    if destination.WhichOneof("destination") != "filesystem" or not is_local(base):
        return None
    return Path(base.removeprefix("file://"))
