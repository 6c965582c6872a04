"""Turns whatever a node raised into an error that tells its user what to do."""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path

from tfx_pipeline.errors import AssayError, NodeFailed, StorageError, Transient, storage_error

_HINT = "The log has the traceback. Mend it, then go on with `assay run --resume`."

_FULL_HINT = "Free some space, then go on with `assay run --resume`."
_NO_ROOM_BYTES = 2**20

_NO_SPACE = ("No space left on device", "database or disk is full")
_READ_ONLY = ("Read-only file system", "attempt to write a readonly database")
# Types of TensorFlow, MLMD and gRPC by name, so that none has to be imported to be recognized.
_PASSING = {"UnavailableError", "AbortedError", "DeadlineExceededError", "ServiceUnavailable"}


def explain(error: BaseException, node_id: str, root: str = "") -> AssayError:
    """The error to show for an exception that ended a node.

    An `AssayError` anywhere in the chain of causes is taken as it is; a full or read-only disk,
    and faults that can pass, are recognized; anything else is a `NodeFailed` that points to the
    deepest line of the user's own code.

    Args:
        error: What the node raised.
        node_id: The node.
        root: Folder that the node writes below.
    """
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, AssayError):
            return cause
    for cause in chain:
        known = _storage(cause, root) or _passing(cause, node_id)
        if known is not None:
            return known
    users_line = _users_line(error)
    if not users_line and _is_full(root):
        return StorageError("the disk is full", where=root, hint=_FULL_HINT)
    return NodeFailed(
        f"{type(error).__name__}: {_first_line(error)}", where=users_line or node_id, hint=_HINT
    )


def _is_full(root: str) -> bool:
    """Whether the disk has no room left. SQLite rolls back on a full disk and then complains that
    there is nothing to commit; others have words of their own: the disk itself tells."""
    while root and not os.path.isdir(root):
        root = os.path.dirname(root)
    return bool(root) and shutil.disk_usage(root).free < _NO_ROOM_BYTES


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _storage(error: BaseException, root: str) -> StorageError | None:
    if isinstance(error, OSError):
        return storage_error(error)
    text = str(error)
    if any(sign in text for sign in _NO_SPACE):
        return StorageError("the disk is full", where=root, hint=_FULL_HINT)
    if any(sign in text for sign in _READ_ONLY):
        hint = "Choose another with `run.root` in pipeline.yaml."
        return StorageError("the folder is read-only", where=root, hint=hint)
    return None


def _passing(error: BaseException, node_id: str) -> Transient | None:
    passing = isinstance(error, (ConnectionError, TimeoutError))
    if passing or type(error).__name__ in _PASSING or "database is locked" in str(error):
        return Transient(f"{type(error).__name__}: {_first_line(error)}", where=node_id, hint=_HINT)
    return None


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else "no message"


def _users_line(error: BaseException) -> str:
    """File and line of the deepest frame that is neither ours nor an installed package's."""
    ours = Path(__file__).resolve().parents[2]
    for cause in _causes(error):
        for frame in reversed(traceback.extract_tb(cause.__traceback__)):
            path = Path(frame.filename)
            installed = "site-packages" in path.parts or "lib" in path.parts
            mine = any((ours / name) in path.parents for name in _OUR_PACKAGES)
            if path.suffix == ".py" and path.is_absolute() and not installed and not mine:
                return f"{frame.filename}:{frame.lineno}"
    return ""


_OUR_PACKAGES = ("transform", "trainer", "serving", "tfx_pipeline")
