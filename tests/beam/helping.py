"""Has worker processes do all that they can of a job, however small it is and fast this process."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tfx_pipeline.runners.beam.local import bundles, workers
from tfx_pipeline.runners.beam.local.sharing import Shared

TIMEOUT_S = 120


class Helped:
    """What workers did.

    Attributes:
        read: The files, by their paths.
        awaits: Whether this process waits for them.
    """

    def __init__(self) -> None:
        self.read: list[str] = []
        self.awaits = True


def have_workers_help(monkeypatch: pytest.MonkeyPatch) -> Helped:
    """This process takes a file only when a worker has no more that it can do: of jobs that may
    have workers."""
    found = Helped()
    help_with, helping = workers._help, workers.Team.helping

    class Patient(Shared[Any]):
        """Work that waits for a worker, if there is a team."""

        def __init__(self, items: Any) -> None:
            super().__init__(items, ahead=1000)
            self.was_helped = threading.Event()
            self.was_helped.set()

        def take(self, item: Any) -> Any:
            assert not found.awaits or self.was_helped.wait(TIMEOUT_S), "no worker came"
            return super().take(item)

        def done(self, item: Any, result: Any) -> None:
            if isinstance(result, bytes):
                found.read.append(item.path)
            super().done(item, result)

    def awaited(team: workers.Team, count: int, work: Any, shipment: Any) -> Any:
        work.was_helped.clear()
        return helping(team, count, work, shipment)

    def noted(worker: Any, work: Any, shipment: Any) -> None:
        try:
            help_with(worker, work, shipment)
        finally:
            work.was_helped.set()

    monkeypatch.setattr(bundles, "Shared", Patient)
    monkeypatch.setattr(workers, "_help", noted)
    monkeypatch.setattr(workers.Team, "helping", awaited)
    return found
