"""Every error that Assay shows a user, and the exit code each one ends the process with.

This module imports nothing but the standard library, so that all four packages may use it: it is
the one module of `tfx_pipeline` that `transform`, `trainer` and `serving` are allowed to import.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class AssayError(Exception):
    """Root of the errors that are a user's to mend.

    Raise a subclass when the cause is known and the user can act on it. The command line prints
    the headline, where it is, and what to do next, and ends with `exit_code`; `--debug` adds the
    traceback. Anything that is not an `AssayError` is a defect of ours: it goes to the run's log
    with its traceback and ends with code 1.

    Args:
        headline: One sentence: what is wrong, with the value at fault.
        where: File, line, column or node at fault, if there is one.
        hint: What to do next, in the imperative.

    Attributes:
        exit_code: The process's exit code (the README has the table).
        retryable: Whether the same call may succeed when it is made again unchanged. The local
            runner retries a node only then.
    """

    exit_code: int = 1
    retryable: bool = False

    def __init__(self, headline: str, *, where: str = "", hint: str = "") -> None:
        self.headline = headline
        self.where = where
        self.hint = hint
        super().__init__(headline, where, hint)

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.headline}" if self.where else self.headline]
        if self.hint:
            parts.append(self.hint)
        return "\n".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments would be lost by the default pickling between processes.
        return _rebuild, (type(self), self.headline, self.where, self.hint)


def _rebuild(cls: type[AssayError], headline: str, where: str, hint: str) -> AssayError:
    return cls(headline, where=where, hint=hint)


def one_sentence(error: Exception, longest: int = 300) -> str:
    """What an error says, for a row of a table: its headline, or its type and first line.

    Args:
        error: Any exception.
        longest: Bound on the first line, in characters.
    """
    if isinstance(error, AssayError):
        return error.headline
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:longest]}" if said else type(error).__name__


class ConfigError(AssayError):
    """Raise when `pipeline.yaml` (or a flag) cannot be what the user meant. Nothing has run."""

    exit_code = 3


class DataError(AssayError):
    """Raise when the input data are missing, unreadable, or not what the config says they are."""

    exit_code = 4


class GateRefused(AssayError):
    """Raise when a gate did not bless. A normal end of a run: nothing was pushed, and the verdict
    says why."""

    exit_code = 5


class NodeFailed(AssayError):
    """Raise when a node of the pipeline failed for a reason that is neither data nor machine, for
    instance a user's function that raises. The run can be resumed."""

    exit_code = 6


class EnvironmentMismatch(AssayError):
    """Raise when this machine or installation lacks something: a package, a device, a port."""

    exit_code = 7


class StorageError(AssayError):
    """Raise when a folder cannot be written: disk full, read-only, no permission. Nothing
    half-written is left under a final name; the run can be resumed."""

    exit_code = 8


class Busy(AssayError):
    """Raise when another process holds the folder. It may succeed later, but only once the other
    run has ended, so the runner itself does not wait for it."""

    exit_code = 9


class ServingError(AssayError):
    """Raise when a model server cannot start, cannot be reached, or answers with an error."""

    exit_code = 10


class Transient(AssayError):
    """Raise for a fault that can pass by itself (a lock, a connection). The runner retries it."""

    exit_code = 6
    retryable = True


INTERRUPTED_EXIT_CODE = 130  # 128 + SIGINT, as a shell reports it.
SKIPPED_EXIT_CODE = 99  # Of `assay run-node`, behind a gate that refused: Airflow's own choice.

_STORAGE_ERRNOS = {
    errno.ENOSPC: ("the disk is full", "Free some space, then go on with `assay run --resume`."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, then `assay run --resume`."),
    errno.ENOTDIR: ("a file is in the way of a folder", "Choose another with `run.root`."),
    errno.EROFS: ("the folder is read-only", "Choose another with `run.root` in pipeline.yaml."),
    errno.EACCES: ("permission denied", "Change the folder's permissions or choose another."),
    errno.EPERM: ("permission denied", "Change the folder's permissions or choose another."),
}


def storage_error(error: OSError, path: str = "") -> StorageError | None:
    """The `StorageError` for an operating system's refusal to write, or None if it is not one."""
    if error.errno not in _STORAGE_ERRNOS:
        return None
    what, hint = _STORAGE_ERRNOS[error.errno]
    return StorageError(what, where=str(path or error.filename or ""), hint=hint)


@contextmanager
def storage_errors(path: str = "") -> Iterator[None]:
    """Turns the `OSError`s of a full disk or a forbidden folder into `StorageError`."""
    try:
        yield
    except OSError as error:
        translated = storage_error(error, path)
        if translated is None:
            raise
        raise translated from error
