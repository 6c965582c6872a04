"""Executor of Pusher: the stock one, but a local push appears whole or is taken back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher import executor
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import json_utils, proto_utils

from tfx_pipeline.components.pusher.probe import Probe, ask, wait_for
from tfx_pipeline.components.pusher.versions import is_settled, publish, settle, withdraw
from tfx_pipeline.errors import AssayError, ServingError, storage_errors
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
            ServingError: The server in production was to be asked, and does not serve the new
                version as it should. The version is gone again.
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
        probe = probe_of(exec_properties)
        if probe is not None:
            _ask_or_withdraw(probe, version)
        settle(version)
        self._MarkPushed(pushed, pushed_destination=str(version), pushed_version=version.name)


def _ask_or_withdraw(probe: Probe, version: Path) -> None:
    """Leaves the version only where the server in production answers with it."""
    try:
        ask(probe, version)
    except AssayError as error:
        if is_settled(version):  # An earlier run pushed it, and it may well be in production.
            raise ServingError(
                f"version {version.name} was pushed by an earlier run, and now: {error.headline}",
                where=_where(probe),
                hint="It was left where it is. Look at serve.address and at the server's log.",
            ) from error
        before = withdraw(version)
        if not before:
            now = "It was the first version: none is left"
        elif wait_for(probe, before):
            now = f"Version {before} serves again"
        else:
            now = f"Version {before} is the newest again, but the server does not say that it is up"
        raise ServingError(
            f"version {version.name} was pushed and taken back: {error.headline}",
            where=_where(probe),
            hint=f"{now}. Look at the server's log; when it is mended, `assay run --resume`.",
        ) from error


def probe_of(exec_properties: dict[str, Any]) -> Probe | None:
    """Whom to ask after the push; None where nobody is."""
    config = exec_properties.get(_KEYS.CUSTOM_CONFIG_KEY)
    return Probe.read(json_utils.loads(config) if config else None)


def _where(probe: Probe) -> str:
    return f"serve.address {probe.address}, model {probe.model_name}"


def local_base(exec_properties: dict[str, Any]) -> Path | None:
    """The local folder that is pushed to; None for any other destination."""
    destination = pusher_pb2.PushDestination()
    proto_utils.json_to_proto(exec_properties[_KEYS.PUSH_DESTINATION_KEY], destination)
    base = destination.filesystem.base_directory
    if destination.WhichOneof("destination") != "filesystem" or not is_local(base):
        return None
    return Path(base.removeprefix("file://"))
