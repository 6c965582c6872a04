"""Waits for a model: the steps of `wait_ready`."""

from __future__ import annotations

import time

from serving.client import steps
from serving.client.errors import RequestFailed
from serving.client.model_types import VersionStatus
from serving.client.operations import Model, Pause
from tfx_pipeline.errors import ServingError

_LOOK_S = 0.05
_PASSING = ("UNAVAILABLE", "NOT_FOUND", "DEADLINE_EXCEEDED")  # while a server starts


def wait_ready(
    model_name: str, address: str, timeout_s: float, version: int | None = None
) -> steps.Steps[None]:
    """Asks for a model's status until a version of it, any or a certain one, is available.

    Raises:
        ServingError: A version failed to load and none is left, or the time is up.
    """
    deadline = time.monotonic() + timeout_s
    last: Exception | None = None
    while time.monotonic() < deadline:
        statuses: list[VersionStatus] = []
        try:
            statuses = yield from steps.status(Model(model_name))
        except RequestFailed as error:
            if error.code not in _PASSING:
                raise
            last = error
        if version is not None:
            statuses = [status for status in statuses if status.version == version]
        if any(status.state == "AVAILABLE" for status in statuses):
            return
        failed = [status for status in statuses if status.message]
        if failed and all(status.state == "END" for status in statuses):
            raise ServingError(
                f"model {model_name} version {failed[0].version} cannot be loaded: "
                f"{failed[0].message}",
                where=address,
                hint="Export the model again, or remove the damaged version.",
            )
        yield Pause(_LOOK_S)
    what = model_name if version is None else f"{model_name} version {version}"
    raise ServingError(
        f"model {what} was not available within {timeout_s:g} s",
        where=address,
        hint="The server's log says what it waits for.",
    ) from last
