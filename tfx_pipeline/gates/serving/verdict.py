"""`judge`: every candidate against every budget, the winner, and all of it as one JSON file."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_pipeline.config.gates import GatesConfig
from tfx_pipeline.files import write_text
from tfx_pipeline.gates.serving.budgets import check_all, why_refused
from tfx_pipeline.gates.serving.choose import DEFAULT, choose
from tfx_pipeline.gates.serving.flips import Array, Flips, flips
from tfx_pipeline.gates.serving.gains import no_gain
from tfx_pipeline.gates.serving.judged import Judged, finite, judged_of, measured_of
from tfx_pipeline.gates.serving.measured import CHAMPION, OVERALL, BySlice, Measured
from tfx_pipeline.gates.serving.quality_budgets import Others, main_metric
from tfx_pipeline.gates.verdict import FILE_NAME, is_local
from trainer.compression.candidate import Candidate
from trainer.compression.config import FLOAT
from transform.label_config import Task

GATE = "serving"


@dataclass(frozen=True)
class ServingVerdict:
    """The serving gate's decision.

    Attributes:
        blessed: Whether there is a winner.
        winner: Name of the candidate that ships; empty if none does.
        reason: One sentence that sums it up.
        objective: What was chosen by.
        metric: What stands for quality in the table.
        rows: Every candidate in the ladder's order.
        champion: The model in production, as measured now; None without one.
        server: What served: `Assay's server`, a path.
        task: Of the label.
        gate: `serving`, which tells this file from other gates' verdicts.
    """

    blessed: bool
    winner: str
    reason: str
    objective: str
    metric: str
    rows: list[Judged]
    champion: Measured | None = None
    server: str = ""
    task: str = ""
    gate: str = GATE

    @property
    def shown(self) -> Judged | None:
        """The row whose flips are shown: the winner; if that is float, the smallest compressed."""
        compressed = [r for r in self.rows if r.candidate.name != FLOAT and r.flips.rows]
        won = [row for row in compressed if row.candidate.name == self.winner]

        def size(row: Judged) -> float:
            return (row.measured and row.measured.served_bytes) or math.inf

        return won[0] if won else min(compressed, key=size, default=None)

    def overall(self) -> ServingVerdict:
        """The same without the metrics of slices, which are the most of it; the checks stay."""
        rows = [dataclasses.replace(row, measured=_overall(row.measured)) for row in self.rows]
        return dataclasses.replace(self, rows=rows, champion=_overall(self.champion))

    def to_json(self) -> str:
        """Strict JSON (RFC 8259): a number that is not finite is written as null."""
        return json.dumps(finite(dataclasses.asdict(self)), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ServingVerdict:
        """The inverse of `to_json`; null becomes NaN where a number must be.

        Raises:
            ValueError: `text` is no serving verdict.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["rows"] = [judged_of(row) for row in fields["rows"]]
            fields["champion"] = measured_of(fields["champion"])
            verdict = cls(**fields)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a serving verdict: {error}") from error
        won = any(row.passed for row in verdict.rows if row.candidate.name == verdict.winner)
        if verdict.gate != GATE or verdict.blessed is not won:
            raise ValueError(
                f"not a serving verdict: gate {verdict.gate!r}, blessed {verdict.blessed!r}, "
                f"winner {verdict.winner!r}"
            )
        return verdict


def judge(
    measured: Sequence[Measured],
    candidates: Sequence[Candidate],
    gates: GatesConfig,
    *,
    task: Task,
    labels: Sequence[float] | Array | None = None,
    server: str = "",
) -> ServingVerdict:
    """Decides which candidate ships, if any. Whatever cannot be shown to hold, fails.

    Args:
        measured: What was measured; `champion` is the model in production.
        candidates: The ladder, failed rows and the float model among them.
        gates: The budgets and the objective.
        task: What kind of label.
        labels: Of the held-out rows, [N], or [N, classes] of a multilabel model.
        server: What served.
    """
    found = {each.name: each for each in measured}
    others = Others(found.get(FLOAT), found.get(CHAMPION))
    rows = [_judge(each, found.get(each.name), others, gates, task, labels) for each in candidates]
    passed = [row.measured for row in rows if row.passed and row.measured is not None]
    metric = main_metric(gates, task)
    objective = gates.objective or DEFAULT
    winner = choose(passed, objective, metric)
    return ServingVerdict(
        blessed=bool(winner),
        winner=winner,
        reason=_summary(rows, winner, objective, len(passed)),
        objective=objective,
        metric=metric,
        rows=rows,
        champion=_light(found.get(CHAMPION)),
        server=server,
        task=task,
    )


def write_serving_verdict(verdict: ServingVerdict, folder: str) -> str:
    """Writes `verdict.json` into a folder, on a local disk whole or not at all; returns its path.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    path = os.path.join(folder, FILE_NAME)
    if is_local(folder):
        write_text(Path(path.removeprefix("file://")), verdict.to_json())
    else:
        from tfx.utils import io_utils

        io_utils.write_string_file(path, verdict.to_json())
    return path


def read_serving_verdict(folder: str) -> ServingVerdict | None:
    """The verdict in a folder; None if the folder holds none.

    Raises:
        ValueError: The file is there and is no serving verdict.
    """
    path = os.path.join(folder, FILE_NAME)
    if is_local(folder):
        file = Path(path.removeprefix("file://"))
        if not file.exists():
            return None
        return ServingVerdict.from_json(file.read_text(encoding="utf-8"))
    from tfx.dsl.io import fileio

    return ServingVerdict.from_json(fileio.open(path).read()) if fileio.exists(path) else None


def _judge(
    candidate: Candidate,
    measured: Measured | None,
    others: Others,
    gates: GatesConfig,
    task: Task,
    labels: Sequence[float] | Array | None,
) -> Judged:
    if candidate.failed:
        return Judged(candidate, None, reasons=[f"not made: {candidate.failed}"])
    if measured is None:
        return Judged(candidate, None, reasons=["it was not measured"])
    if measured.failed:
        return Judged(candidate, _light(measured), reasons=[measured.failed])
    checks = check_all(measured, others, gates, task)
    reasons, changed = why_refused(checks), Flips()
    if candidate.name != FLOAT and others.parent is not None and not others.parent.failed:
        try:
            changed = flips(others.parent, measured, task, labels)
        except ValueError as error:
            reasons.append(str(error))
    return Judged(
        candidate,
        _light(measured),
        checks,
        reasons,
        no_gain(candidate, measured, others.parent),
        changed,
    )


def _light(measured: Measured | None) -> Measured | None:
    """Without the predictions: the verdict is to be read."""
    return measured and dataclasses.replace(measured, predictions=())


def _overall(measured: Measured | None) -> Measured | None:
    def kept(found: BySlice) -> BySlice:
        return {name: metrics for name, metrics in found.items() if name == OVERALL}

    return measured and dataclasses.replace(
        measured,
        quality=kept(measured.quality),
        to_float=kept(measured.to_float),
        to_champion=kept(measured.to_champion),
    )


def _summary(rows: Sequence[Judged], winner: str, objective: str, passed: int) -> str:
    if winner:
        word = objective.replace("_", " ")
        of = f"the {word} of {passed} that pass" if passed > 1 else "the only one that passes"
        return f"{winner} ships: {of}" + (f", of {len(rows)}" if len(rows) > passed else "")
    if not rows:
        return "there is no candidate"
    if len(rows) == 1:
        return f"{rows[0].candidate.name} is refused: {rows[0].reasons[0]}"
    return f"none of {len(rows)} candidates stays inside the budgets"
