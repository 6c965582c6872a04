"""Which step is next, and which collections somebody reads still, at the cost of what just ran."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tfx_pipeline.runners.beam.local.plan import Step


class Waiting:
    """The steps of a plan that have not run.

    Attributes:
        steps: They, in the plan's order (the values are nothing).
    """

    def __init__(self, steps: list[Step], flowing: set[Any]) -> None:
        """Of a plan whose rows are in the collections `flowing`."""
        self.steps: dict[Step, None] = dict.fromkeys(steps)
        self._plan = steps
        self._number = {step: number for number, step in enumerate(steps)}
        self._missing = {step: len(step.reads) for step in steps}
        self._ready = [self._number[step] for step in steps if self._can_run(step)]
        self._readers: dict[Any, list[Step]] = {}
        for step in steps:
            for pcoll in step.reads:
                self._readers.setdefault(pcoll, []).append(step)
        # Rows that are kept have two steps that make them: theirs, and the one that keeps them.
        self._there: set[Any] = set()
        self._left = Counter({pcoll: len(readers) for pcoll, readers in self._readers.items()})
        # Steps over rows may be taken again, with their side inputs.
        over_rows = [step for step in steps if flowing & {*step.outputs.values(), *step.inputs}]
        self._always = {pcoll for step in over_rows for pcoll in step.reads}

    def next(self) -> Step | None:
        """The first step all of whose collections are kept; None where only a pass helps."""
        while self._ready:
            step = self._plan[heapq.heappop(self._ready)]
            if step in self.steps:
                return step
        return None

    def ran(self, done: Iterable[Step], kept: dict[Any, list[Any]]) -> None:
        """Takes note of steps that have run, and of `kept` drops what nobody will read."""
        done = list(done)
        for step in done:
            del self.steps[step]
        for step in done:
            for pcoll in step.outputs.values():
                if pcoll in kept and pcoll not in self._there:
                    self._is_there(pcoll)
                    self._forget(pcoll, kept)
            for pcoll in step.reads:
                self._left[pcoll] -= 1
                self._forget(pcoll, kept)

    def _is_there(self, pcoll: Any) -> None:
        self._there.add(pcoll)
        for step in self._readers.get(pcoll, ()):
            if step in self.steps:
                self._missing[step] -= 1
                if self._can_run(step):
                    heapq.heappush(self._ready, self._number[step])

    def _can_run(self, step: Step) -> bool:
        return not self._missing[step] and step.kind != "read"

    def _forget(self, pcoll: Any, kept: dict[Any, list[Any]]) -> None:
        if not self._left[pcoll] and pcoll not in self._always:
            kept.pop(pcoll, None)
