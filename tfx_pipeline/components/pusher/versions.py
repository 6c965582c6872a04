"""Version folders of TensorFlow Serving: each appears whole, by one rename, under a new number.

A push is copied into a hidden folder beside the versions (TensorFlow Serving looks at numeric
names only), synced, and renamed. The writer holds a lock on its hidden folder, which the kernel
drops when it dies, so that a later push knows what is left over and what is being written.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfx_pipeline.errors import StorageError, storage_errors
from tfx_pipeline.files import write_text

_PREFIX = ".assay-push-"
_WITHDRAWN = ".assay-withdrawn"  # Holds the highest number that was taken back.
_SETTLED = "settled"
_MARKER = Path("assets.extra") / "assay_push.json"
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


def publish(model: Path, base: Path, *, push_id: str) -> Path:
    """Copies a SavedModel into the next version folder.

    Args:
        model: The SavedModel's folder.
        base: `model_base_path`; made if it is absent.
        push_id: Names this push. A second call with the same id, as after a kill between the
            rename and the record of it, finds the version that is already there. The id and the
            model's digest stay with the version, for `newest_push`.

    Returns:
        The version's folder: Unix seconds, or one above the latest version if that is higher.

    Raises:
        StorageError: Disk full, read-only or no permission; nothing is left behind.
    """
    with storage_errors(str(base)):
        try:
            base.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            hint = "Choose a folder with `serve.push_dir`."
            raise StorageError("not a folder", where=str(base), hint=hint) from error
        sweep(base)
        for version in _versions(base):
            if _push_id(base / str(version)) == push_id:
                return base / str(version)
        with _hidden_folder(base) as folder:
            shutil.copytree(model, folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
            marker = folder / _MARKER
            marker.parent.mkdir(exist_ok=True)
            content = {"push_id": push_id, "model_sha256": model_digest(model)}
            marker.write_text(json.dumps(content) + "\n", encoding="utf-8")
            _sync_tree(folder)
            return _rename_to_next(folder, base)


def settle(version: Path) -> None:
    """Notes that a push has ended well; its version is not to be taken back by a later one.

    Raises:
        StorageError: The folder cannot be written.
    """
    content = {**_marker(version), _SETTLED: "yes"}
    write_text(version / _MARKER, json.dumps(content) + "\n")


def is_settled(version: Path) -> bool:
    """Whether a push of this version has ended well, be it in an earlier run."""
    return _SETTLED in _marker(version)


def newest_push(base: Path, model: Path) -> str | None:
    """The push id of the newest version, the one that is served, if it holds this very model.

    None if it holds another, was pushed by something else, or there is no version.

    Raises:
        OSError: A folder cannot be read.
    """
    numbers = _versions(base) if base.exists() else []
    marker = _marker(base / str(numbers[-1])) if numbers else {}
    if not marker or marker.get("model_sha256") != model_digest(model):
        return None
    return marker.get("push_id")


def withdraw(version: Path) -> str:
    """Takes a version back: servers that read the folder return to the one before it.

    It vanishes by one rename, so that no server meets half of it. Its number is never given again:
    a server remembers that it could not load it.

    Returns:
        The number of the version that is the newest now; empty where there is none.

    Raises:
        StorageError: The folder cannot be written.
    """
    with storage_errors(str(version)):
        highest = max(int(version.name), _withdrawn(version.parent))
        (version.parent / _WITHDRAWN).write_text(f"{highest}\n", encoding="utf-8")
        hidden = version.with_name(f"{_PREFIX}{uuid.uuid4().hex}")
        os.rename(version, hidden)
        _sync(version.parent)
        shutil.rmtree(hidden, ignore_errors=True)  # A later push sweeps what is left.
        left = _versions(version.parent)
    return str(left[-1]) if left else ""


def model_digest(model: Path) -> str:
    """SHA-256 of a model's files, with their paths in it."""
    digest = hashlib.sha256()
    for path in sorted(found for found in model.rglob("*") if found.is_file()):
        digest.update(f"{path.relative_to(model).as_posix()}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def sweep(base: Path) -> None:
    """Removes what dead pushes have left; folders that are being written are locked and stay."""
    for folder in base.glob(f"{_PREFIX}*"):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # It was renamed or swept meanwhile.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Renamed after it was opened, it would be a version under this lock: not at this path.
            if _is_same(folder, descriptor):
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)


@contextmanager
def _hidden_folder(base: Path) -> Iterator[Path]:
    """A new locked folder; removed unless it was renamed."""
    while True:
        folder = base / f"{_PREFIX}{uuid.uuid4().hex}"
        folder.mkdir()
        descriptor = -1
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_same(folder, descriptor):
                break
        except FileNotFoundError:
            pass
        if descriptor >= 0:  # A sweep came between the making and the lock: once more.
            os.close(descriptor)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _rename_to_next(folder: Path, base: Path) -> Path:
    version = max(int(time.time()), _withdrawn(base) + 1)
    while True:
        version = max([version, *(taken + 1 for taken in _versions(base))])
        target = base / str(version)
        try:
            os.rename(folder, target)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            version += 1
            continue
        _sync(base)
        return target


def _versions(base: Path) -> list[int]:
    """Numbers that are taken, ascending."""
    return sorted(int(entry.name) for entry in base.iterdir() if entry.name.isdecimal())


def _withdrawn(base: Path) -> int:
    try:
        return int((base / _WITHDRAWN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


def _push_id(version: Path) -> str | None:
    return _marker(version).get("push_id")


def _marker(version: Path) -> dict[str, str]:
    """What `publish` noted in a version; empty if something else pushed it."""
    try:
        content = json.loads((version / _MARKER).read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in content.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _is_same(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(folder), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sync_tree(folder: Path) -> None:
    for path, _, files in os.walk(folder):
        for name in files:
            _sync(Path(path) / name)
        _sync(Path(path))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
