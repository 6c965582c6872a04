"""Has worker processes do all that they can of a job, however small it is and fast this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tfx_pipeline.runners.beam.local import bundles, workers
from tfx_pipeline.runners.beam.local.sharing import Shared

TIMEOUT_S = 120


class Helped:
    """What workers did. `read`: the files, by their paths."""

    def __init__(self) -> None:
        self.read: list[str] = []


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Helped]:
    """This process takes a file only when a worker has no more that it can do."""
    found = Helped()
    ended: dict[int, threading.Event] = {}
    for_files, take, help_with = workers.Helpers.for_files, Shared.take, workers._help

    def event_of(work: Any) -> threading.Event:
        return ended.setdefault(id(work), threading.Event())

    def noted(worker: Any, work: Any, shipment: Any) -> None:
        try:
            help_with(worker, work, shipment)
        finally:
            event_of(work).set()

    class Patient(Shared[Any]):
        is_helped = False

        def take(self, suits: Any = None) -> Any:
            if suits is not None:
                return take(self, suits)
            if self.is_helped:
                assert event_of(self).wait(TIMEOUT_S), "no worker came"
            return take(self)

        def done(self, item: Any, result: Any) -> None:
            if isinstance(result, bytes):
                found.read.append(item.path)
            super().done(item, result)

    def helping(self: workers.Team, work: Any, shipment: Any) -> Any:
        work.is_helped = True
        return team_helping(self, work, shipment)

    team_helping = workers.Team.helping
    monkeypatch.setattr(workers, "_help", noted)
    monkeypatch.setattr(bundles, "Shared", Patient)
    monkeypatch.setattr(workers.Team, "helping", helping)
    assert for_files is workers.Helpers.for_files
    yield found
