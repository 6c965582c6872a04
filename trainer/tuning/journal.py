"""What a search has done so far, in files: its journal, and the table of trials."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfx_pipeline.errors import storage_errors

JOURNAL_FILE = "journal.json"
TRIALS_FILE = "trials.json"
TABLE_FILE = "trials.csv"
PLOT_FILE = "trials.png"


@dataclass(frozen=True)
class Trial:
    """A row of the table of trials.

    Attributes:
        rank: From 1, the best; 0 for a trial that failed.
        id: In the order in which they began.
        state: `complete`, `pruned` (its metrics are those of then) or `failed`.
        values: Field of the config to value.
        measured: Metrics of the validation split, and what is budgeted.
        score: What the search goes by (trainer/tuning/objective.py); None for a failed trial.
        exceeds: Budgets that it does not keep, and by which share.
        history: The objective's metric after each round.
        steps: Optimizer steps.
        seconds: Wall time.
        reason: Why it was pruned or failed.
        own: Whether these are the config's own values.
    """

    rank: int
    id: str
    state: str
    values: dict[str, Any]
    measured: dict[str, float] = field(default_factory=dict)
    score: float | None = None
    exceeds: dict[str, float] = field(default_factory=dict)
    history: list[float] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    reason: str = ""
    own: bool = False


@dataclass(frozen=True)
class Trials:
    """The table of a search: `trials` by rank, the failed ones last; `planned` is how many there
    will be."""

    metric: str
    higher: bool
    planned: int
    trials: list[Trial]
    has_budgets: bool = False

    @property
    def best(self) -> Trial | None:
        """The trial of rank 1."""
        return self.trials[0] if self.trials and self.trials[0].rank == 1 else None

    @property
    def own(self) -> Trial | None:
        """The longest trial of the config's own values that did not fail."""
        found = [trial for trial in self.trials if trial.own and trial.rank]
        return max(found, key=lambda trial: trial.steps, default=None)


def write_trials(found: Trials, folder: Path) -> None:
    """Writes `trials.json` and `trials.csv`."""
    document = json.dumps(dataclasses.asdict(found), indent=1) + "\n"
    write_whole(folder / TRIALS_FILE, document)
    write_whole(folder / TABLE_FILE, _table(found))


def read_trials(folder: Path) -> Trials:
    """Reads what `write_trials` wrote.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged.
    """
    text = (folder / TRIALS_FILE).read_text(encoding="utf-8")
    try:
        document = json.loads(text)
        return Trials(**{**document, "trials": [Trial(**row) for row in document["trials"]]})
    except (TypeError, KeyError) as error:
        raise ValueError(f"{folder / TRIALS_FILE} is no table of trials: {error}") from error


def _table(found: Trials) -> str:
    paths = list(dict.fromkeys(path for trial in found.trials for path in trial.values))
    measured = list(dict.fromkeys(name for trial in found.trials for name in trial.measured))
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(
        ["rank", "id", "state", *paths, *measured, "score", "steps", "seconds", "own", "reason"]
    )
    for trial in found.trials:
        values = [shown(trial.values[path]) if path in trial.values else "" for path in paths]
        figures = [trial.measured.get(name, "") for name in measured]
        score = "" if trial.score is None else trial.score
        end = [score, trial.steps, trial.seconds, trial.own, trial.reason]
        writer.writerow([trial.rank or "", trial.id, trial.state, *values, *figures, *end])
    return output.getvalue()


def shown(value: object) -> str:
    """A value of the config as a person writes it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def summary(found: Trials) -> str:
    """The outcome of a search in one line: the best, and what the config's own values gave."""
    best, own = found.best, found.own
    if best is None:
        return f"{len(found.trials)} trials, none of which succeeded"
    parts = [
        f"{len(found.trials)} trials",
        f"best {found.metric} {best.measured[found.metric]:.4f}",
    ]
    if own is best:
        parts.append("by the config's own values")
    elif own is not None:
        parts.append(f"the config's own values {own.measured[found.metric]:.4f}")
    elif not any(trial.own for trial in found.trials):
        parts.append("the config's own values are not in the space")
    states = [trial.state for trial in found.trials]
    parts += [f"{states.count(s)} {s}" for s in ("pruned", "failed") if s in states]
    return ", ".join(parts)


class Journal:
    """The events of a search in their order: trials begun, and ended with their results.

    A search is a function of its seed and of these events. A killed one is resumed by telling them
    to a new oracle: it then stands where the other did, whichever oracle it is. keras-tuner's own
    state would not do: it forgets the Gaussian process's random numbers and the grid's place, and a
    kill while it is written leaves half a file.

    Args:
        folder: Where it is.
        made_by: What the search follows from, as JSON. Events of another search are forgotten.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any]) -> None:
        self._path = folder / JOURNAL_FILE
        text = json.dumps(made_by, sort_keys=True)
        self._digest = hashlib.sha256(text.encode()).hexdigest()
        self.events: list[dict[str, Any]] = []
        if self._path.exists():
            document = json.loads(self._path.read_text(encoding="utf-8"))
            if document["sha256"] == self._digest:
                self.events = document["events"]

    def add(self, event: dict[str, Any]) -> None:
        """Appends an event, on the disk when this returns."""
        self.events.append(event)
        document = {"sha256": self._digest, "events": self.events}
        write_whole(self._path, json.dumps(document))

    def forget_from(self, index: int) -> None:
        """Drops the events from this one on."""
        del self.events[index:]


def write_whole(path: Path, text: str) -> None:
    """Writes a file whole or not at all.

    Raises:
        StorageError: The folder cannot be written.
    """
    with storage_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.unfinished")
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
