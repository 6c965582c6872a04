"""`run.json`: what happened in one run. Written anew after every change, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import BaseModel, Field, ValidationError

from tfx_pipeline.errors import ConfigError
from tfx_pipeline.files import write_text

RunState = Literal["running", "complete", "refused", "failed", "interrupted"]

# Another runner runs each node in a process of its own, and alone knows whether a run goes on.
LOCAL = "local"

RECORD_FILE = "run.json"
CONFIG_FILE = "config.yaml"
LOG_FILE = "run.log"
NODE_LOGS = "logs"


class ArtifactRecord(BaseModel):
    """An output artifact of a node: where it lies and what MLMD says of it."""

    type: str
    uri: str
    id: int
    properties: dict[str, Any] = {}


class TrainingRecord(BaseModel):
    """How training ended. The losses are those of the weights that are kept, at `kept_step`."""

    steps: int
    planned_steps: int
    kept_step: int
    loss: float | None = None
    val_loss: float | None = None


class NodeRecord(BaseModel):
    """How one node went. `seconds` is wall time.

    `state` is what MLMD has: a gate that refuses is complete. Where a person would be misled by
    it, `outcome` says more: `refused`, `not pushed`, `interrupted`. `note` is the rest of the
    node's line on the terminal.
    """

    state: str = "waiting"
    outcome: str = ""
    note: str = ""
    seconds: float = 0.0
    tries: int = 1
    error: str = ""
    artifacts: dict[str, list[ArtifactRecord]] = {}
    training: TrainingRecord | None = None

    @property
    def said(self) -> str:
        """Its outcome and state in one or two words; empty where it is simply complete."""
        state = "" if self.state == "complete" or self.outcome == "interrupted" else self.state
        return ", ".join(word for word in (self.outcome, state) if word)


class RunRecord(BaseModel):
    """One run of a pipeline."""

    run_id: str
    pipeline: str
    runner: str = LOCAL
    state: RunState = "running"
    started: datetime
    ended: datetime | None = None
    seconds: float = 0.0
    exit_code: int | None = None
    error: str = ""
    selection: dict[str, list[str]] = {}
    base_run: str = ""
    nodes: dict[str, NodeRecord] = {}
    tuned: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    verdicts: dict[str, dict[str, Any]] = {}
    pushed_to: str = ""
    model_name: str = ""
    data_digest: str = ""
    config_digest: str = ""
    config_file: str = ""
    git_commit: str = ""
    versions: dict[str, str] = {}
    host: str = Field(default_factory=socket.gethostname)
    pid: int = Field(default_factory=os.getpid)
    process_started: float = Field(default_factory=lambda: psutil.Process().create_time())

    @property
    def is_alive(self) -> bool:
        """Whether the process that wrote the record still runs, as far as this host can tell."""
        if self.runner != LOCAL:
            return self.state == "running"
        if self.state != "running" or self.host != socket.gethostname():
            return False
        with contextlib.suppress(psutil.Error):
            return abs(psutil.Process(self.pid).create_time() - self.process_started) < 1
        return False

    @property
    def can_resume(self) -> bool:
        """Whether `--resume` has something to go on with: other runners resume by themselves."""
        unfinished = self.state in ("failed", "interrupted", "running")
        return self.runner == LOCAL and unfinished and not self.is_alive


def now() -> datetime:
    """The time, to the second, in UTC."""
    return datetime.now(UTC).replace(microsecond=0)


def save(record: RunRecord, root: Path) -> None:
    """Writes the record into its run's folder."""
    write_text(root / record.run_id / RECORD_FILE, record.model_dump_json(indent=1) + "\n")


def load(root: Path, run_id: str) -> RunRecord:
    """Reads a run's record; `latest` is the newest one, and a unique prefix of an id is enough.

    Raises:
        ConfigError: There is no such run, or several.
    """
    found = run_ids(root)
    if not found:
        raise ConfigError("no run yet", where=str(root), hint="Start one with `assay run`.")
    matching = found[-1:] if run_id == "latest" else [r for r in found if r.startswith(run_id)]
    if run_id in found:  # `run-1`, beside `run-10`.
        matching = [run_id]
    if len(matching) != 1:
        what = "no run" if not matching else f"{len(matching)} runs"
        raise ConfigError(
            f"{what} with an id that starts with {run_id!r}",
            where=str(root),
            hint="`assay runs` lists them.",
        )
    return _read(root / matching[0] / RECORD_FILE)


def load_exactly(root: Path, run_id: str) -> RunRecord:
    """Reads the record of the run with this id.

    Raises:
        ConfigError: There is none, or it cannot be read.
    """
    return _read(root / run_id / RECORD_FILE)


def last_but_one(root: Path) -> RunRecord:
    """The record of the run before the newest one.

    Raises:
        ConfigError: There are fewer than two runs.
    """
    found = run_ids(root)
    if len(found) < 2:
        raise ConfigError(
            f"two runs are needed, and there is {'one' if found else 'none'}",
            where=str(root),
            hint="Start one with `assay run`.",
        )
    return _read(root / found[-2] / RECORD_FILE)


def load_all(root: Path) -> list[RunRecord]:
    """Every run in a folder, oldest first."""
    return [_read(root / run_id / RECORD_FILE) for run_id in run_ids(root)]


def run_ids(root: Path) -> list[str]:
    """Ids of the runs in a folder, oldest first."""
    found = [(_started(path), path.parent.name) for path in root.glob(f"*/{RECORD_FILE}")]
    return [run_id for _, run_id in sorted(found)]


def _started(path: Path) -> str:
    """When a run began, to sort by. Our own ids begin with it; other runners have theirs."""
    if _OUR_ID.match(path.parent.name):
        return path.parent.name
    try:
        started = datetime.fromisoformat(json.loads(path.read_text(encoding="utf-8"))["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"{started.astimezone(UTC):%Y%m%d-%H%M%S}"


_OUR_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}$")


def _read(path: Path) -> RunRecord:
    try:
        record = RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, OSError) as error:
        raise ConfigError(
            f"not a run's record: {error}", where=str(path), hint="Delete this run's folder."
        ) from error
    local = record.runner == LOCAL and record.host == socket.gethostname()
    if record.state == "running" and not record.is_alive and local:
        return record.model_copy(update={"state": "interrupted"})
    return record
