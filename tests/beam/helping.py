"""Has worker processes do all that they can of a job, however small it is and fast this process."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tfx_pipeline.runners.beam.local import bundles, workers
from tfx_pipeline.runners.beam.local.sharing import Shared

TIMEOUT_S = 120


class Helped:
    """What workers did. `read`: the files, by their paths."""

    def __init__(self) -> None:
        self.read: list[str] = []


def have_workers_help(monkeypatch: pytest.MonkeyPatch) -> Helped:
    """This process takes a file only when a worker has no more that it can do: of jobs that may
    have workers."""
    found = Helped()
    help_with, helping = workers._help, workers.Team.helping

    class Patient(Shared[Any]):
        """Work that waits for a worker, if there is a team."""

        def __init__(self, items: Any) -> None:
            super().__init__(items)
            self.was_helped = threading.Event()
            self.was_helped.set()

        def take(self, suits: Any = None) -> Any:
            if suits is not None:
                return super().take(suits)
            assert self.was_helped.wait(TIMEOUT_S), "no worker came"
            return super().take()

        def done(self, item: Any, result: Any) -> None:
            if isinstance(result, bytes):
                found.read.append(item.path)
            super().done(item, result)

    def awaited(team: workers.Team, work: Any, shipment: Any) -> Any:
        work.was_helped.clear()
        return helping(team, work, shipment)

    def noted(worker: Any, work: Any, shipment: Any) -> None:
        try:
            help_with(worker, work, shipment)
        finally:
            work.was_helped.set()

    monkeypatch.setattr(bundles, "Shared", Patient)
    monkeypatch.setattr(workers, "_help", noted)
    monkeypatch.setattr(workers.Team, "helping", awaited)
    return found
