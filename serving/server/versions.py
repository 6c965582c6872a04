"""Which version of a model answers: looks at the base path, loads, swaps and unloads."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from serving.server.saved_model import SavedModel
from serving.server.status import Code, RequestError, not_found

logger = logging.getLogger("assay.serving")


class State(IntEnum):
    """`ModelVersionStatus.State`, with the protocol's numbers."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """Where a version stands; `code` and `message` say why a load failed (0 and empty: it did
    not)."""

    state: State
    code: int = 0
    message: str = ""


@dataclass
class _Loaded:
    version: int
    model: SavedModel
    requests: int = 0  # in flight
    retired: bool = False


class ServedModel:
    """One model name, its base path, and the version that answers.

    `poll` is for one thread; everything else may be called from any.
    """

    def __init__(self, name: str, base_path: Path, load: Callable[[Path], SavedModel]) -> None:
        self.name = name
        self.base_path = base_path
        self._load = load
        self._changed = threading.Condition()
        self._current: _Loaded | None = None
        self._statuses: dict[int, VersionStatus] = {}
        self._failed: dict[int, object] = {}  # version -> what its files looked like
        self._last_note = ""

    @contextmanager
    def lease(self, version: int | None = None) -> Iterator[tuple[int, SavedModel]]:
        """The model to answer one request with; it stays loaded while the context is open.

        Args:
            version: The version asked for, or None for the latest.

        Raises:
            RequestError: NOT_FOUND: that version is not served.
        """
        with self._changed:
            loaded = self._current
            if loaded is None or (version is not None and version != loaded.version):
                raise not_served(self.name, version)
            loaded.requests += 1
        try:
            yield loaded.version, loaded.model
        finally:
            with self._changed:
                loaded.requests -= 1
                last = loaded.retired and loaded.requests == 0
            if last:
                self._unload(loaded)

    def statuses(self) -> dict[int, VersionStatus]:
        """Every version seen so far, newest first, and its state."""
        with self._changed:
            return dict(sorted(self._statuses.items(), reverse=True))

    def available(self) -> bool:
        """Whether a version answers now."""
        with self._changed:
            return self._current is not None

    def wait(self, timeout_s: float) -> VersionStatus | None:
        """Waits until a version is available or one failed to load; None when the time is up."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for status in self._statuses.values():
                    if status.state is State.AVAILABLE or status.code:
                        return status
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def poll(self) -> None:
        """Looks at the base path once and brings the served version in line with it.

        The newest complete version is the one to serve. It is loaded before the old one is
        unloaded, so some version answers at every moment. A version that fails to load is tried
        again when its files change.
        """
        try:
            versions = self._versions_on_disk()
        except OSError as error:
            # Perhaps a mount that is away for a moment: what is loaded stays.
            self._note(f"cannot read the base path {self.base_path}: {error.strerror or error}")
            return
        current = self._current
        if not versions:
            self._note(
                f"no versions of model {self.name} under {self.base_path}; a version is a folder "
                "named by a number, with saved_model.pb inside; waiting for one"
            )
            if current is not None:
                self._replace(None)
            return
        newest = max(versions)
        if current is not None and current.version == newest:
            return
        files = _fingerprint(versions[newest])
        if self._failed.get(newest) == files:
            return
        self._try_load(newest, versions[newest], files)

    def close(self) -> None:
        """Unloads what is loaded, as soon as the last request on it has ended."""
        self._replace(None)

    def _versions_on_disk(self) -> dict[int, Path]:
        versions = {}
        for entry in self.base_path.iterdir():
            if not (entry.name.isascii() and entry.name.isdigit()):
                continue  # a folder being written bears a temporary name
            if any((entry / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
                versions[int(entry.name)] = entry
        return versions

    def _try_load(self, version: int, path: Path, files: object) -> None:
        self._set(version, VersionStatus(State.LOADING))
        logger.info("loading model %s version %d from %s", self.name, version, path)
        start = time.monotonic()
        try:
            model = self._load(path)
        except RequestError as error:
            self._failed[version] = files
            self._set(version, VersionStatus(State.END, error.code, error.message))
            current = self._current
            logger.error(
                "model %s version %d cannot be loaded: %s; %s",
                self.name,
                version,
                " ".join(error.message.split()),
                f"version {current.version} goes on" if current else "nothing is served yet",
            )
            return
        self._failed.pop(version, None)
        self._last_note = ""
        self._replace(_Loaded(version, model))
        logger.info(
            "model %s version %d is available, %.2f s", self.name, version, time.monotonic() - start
        )

    def _replace(self, new: _Loaded | None) -> None:
        with self._changed:
            old, self._current = self._current, new
            if new is not None:
                self._statuses[new.version] = VersionStatus(State.AVAILABLE)
            if old is not None:
                old.retired = True
                self._statuses[old.version] = VersionStatus(State.UNLOADING)
            idle = old is not None and old.requests == 0
            self._changed.notify_all()
        if old is not None and idle:
            self._unload(old)

    def _unload(self, loaded: _Loaded) -> None:
        loaded.model.close()
        self._set(loaded.version, VersionStatus(State.END))
        logger.info("model %s version %d is unloaded", self.name, loaded.version)
        gc.collect()  # a graph is full of reference cycles

    def _set(self, version: int, status: VersionStatus) -> None:
        with self._changed:
            current = self._current
            if status.state is State.END and current is not None and current.version == version:
                return  # loaded again while its earlier self was draining
            self._statuses[version] = status
            self._changed.notify_all()

    def _note(self, text: str) -> None:
        """Logs a condition once, not at every poll."""
        if text != self._last_note:
            logger.warning("%s", text)
            self._last_note = text


def not_served(name: str, version: int | None) -> RequestError:
    """The status for a model or version that is not there, in TensorFlow Serving's words."""
    request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return not_found(f"Servable not found for request: {request}")


def failure_text(status: VersionStatus) -> str:
    """A failed load in one line, for instance `UNKNOWN: OSError: cannot parse ...`."""
    return f"{Code(status.code).name}: {' '.join(status.message.split())}"


def _fingerprint(path: Path) -> object:
    """What a version's files look like: relative path, size and time of each."""
    files = []
    for file in sorted(path.rglob("*")):
        try:
            stat = file.stat()
        except OSError:
            continue  # vanished between the listing and now
        files.append((str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns))
    return tuple(files)
