"""The folder that runs live in: made writable, and held by one run at a time."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import filelock

from tfx_pipeline.errors import Busy, ConfigError, storage_errors
from tfx_pipeline.report import record as records

LOCK_FILE = ".lock"


@contextlib.contextmanager
def held(root: Path) -> Iterator[None]:
    """Holds the folder for one run. The lock is the system's, so it ends with the process.

    Raises:
        Busy: Another run holds it.
        StorageError: It cannot be made or written.
    """
    with storage_errors(str(root)):
        try:
            root.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            # `mkdir` gives it for a file at `root`, and ENOTDIR for one further up.
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(root)) from None
        lock = filelock.FileLock(root / LOCK_FILE, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise _busy(root) from None
    try:
        yield
    finally:
        lock.release()


def _busy(root: Path) -> Busy:
    alive = [record for record in records.load_all(root) if record.is_alive]
    who, stop = "another process", "stop it"
    if alive:
        pid = alive[-1].pid
        who, stop = f"run {alive[-1].run_id}, process {pid}", f"stop it with `kill {pid}`"
    return Busy(
        f"{who} is using this folder",
        where=str(root),
        hint=f"Wait until it ends, {stop}, or choose another folder with `run.root`.",
    )


def new_run_id() -> str:
    """A run id that sorts by time: 20261122-104503-1f3a (UTC; hexadecimal fraction of a second).

    A cached run takes less than a second, and the latest run must be the one that began last.
    """
    now = datetime.now(UTC)
    return f"{now:%Y%m%d-%H%M%S}-{now.microsecond * 2**16 // 10**6:04x}"


def resumable(root: Path, pipeline: str, run_id: str) -> records.RunRecord:
    """The run that `--resume` goes on with.

    Args:
        root: Folder of the runs.
        pipeline: The pipeline's name: several may share a folder.
        run_id: The run's id, or the start of it; empty: the latest run that did not end.

    Raises:
        ConfigError: No such run, or it has ended.
    """
    if run_id:
        record = records.load(root, run_id)
        found = [record] if record.can_resume else []
        what = f"run {record.run_id} is {record.state}: there is nothing to resume"
    else:
        of_pipeline = [r for r in records.load_all(root) if r.pipeline == pipeline]
        found = [r for r in of_pipeline if r.can_resume]
        what = f"no run of {pipeline} is unfinished: there is nothing to resume"
    if not found:
        raise ConfigError(
            what,
            where=str(root),
            hint="Start a new one with `assay run`; nodes that nothing has changed for are cached.",
        )
    return found[-1]
