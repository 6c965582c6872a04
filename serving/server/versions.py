"""The versions of a model that answer: looks at the base path, loads, swaps and unloads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from serving.server.loaded import Loaded, Servable, State, VersionStatus
from serving.server.memory import give_back
from serving.server.policy import LATEST, VersionPolicy
from serving.server.status import Code, RequestError, not_found

logger = logging.getLogger("assay.serving")

_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt", "model.tflite")
_MAX_VERSION = 2**63 - 1  # the protocol's int64


@dataclass(frozen=True)
class Retries:
    """How often, and how long after the last try, a version that failed to load is tried again."""

    count: int = 5
    interval_s: float = 60.0


@dataclass
class _Failure:
    files: object  # what its files looked like
    tries: int
    next_s: float


class Lease:
    """A context of a version's number and the model, which stays loaded while it is open."""

    __slots__ = ("_loaded", "_model", "_version")

    def __init__(self, model: ServedModel, version: int | None) -> None:
        self._model = model
        self._version = version

    def __enter__(self) -> tuple[int, Servable]:
        self._loaded = self._model.take(self._version)
        return self._loaded.version, self._loaded.model

    def __exit__(self, *_: object) -> None:
        self._model.give_back(self._loaded)


class ServedModel:
    """One model name, its base path, and the versions that answer.

    `poll` is for one thread at a time; everything else may be called from any.

    Args:
        name: What requests call it.
        base_path: Of the version folders.
        load: Loads the version in a folder.
        policy: Which versions are served.
        retries: Of loads that fail.
        unloads: Runs the unloading of versions; None: `poll` does, or the last request's thread.
    """

    def __init__(
        self,
        name: str,
        base_path: Path,
        load: Callable[[Path], Servable],
        policy: VersionPolicy = LATEST,
        retries: Retries = Retries(),
        unloads: Executor | None = None,
    ) -> None:
        self.name = name
        self.base_path = base_path
        self.policy = policy
        self._load = load
        self._retries = retries
        self._unloads = unloads
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._loaded: dict[int, Loaded] = {}
        self._latest: Loaded | None = None
        self._statuses: dict[int, VersionStatus] = {}
        self._failed: dict[int, _Failure] = {}
        self._present: dict[int, Path] = {}
        self._last_note = ""

    def lease(self, version: int | None = None) -> Lease:
        """The model to answer one request with; it stays loaded while the context is open.

        Args:
            version: The version asked for, or None for the latest.

        Raises:
            RequestError: NOT_FOUND, on entering: that version is not served.
        """
        return Lease(self, version)

    def take(self, version: int | None = None) -> Loaded:
        """As `lease`, for a request that ends elsewhere: `give_back` must follow.

        Raises:
            RequestError: NOT_FOUND: that version is not served.
        """
        with self._lock:
            loaded = self._latest if version is None else self._loaded.get(version)
            if loaded is None:
                raise not_served(self.name, version)
            loaded.requests += 1
        return loaded

    def give_back(self, loaded: Loaded) -> None:
        """Ends what `take` began."""
        with self._lock:
            loaded.requests -= 1
            last = loaded.retired and loaded.requests == 0
        if not last:
            return
        # Not here: it takes a while, and this may be an event loop's thread.
        if self._unloads is None or not self._submit(self._unloads, loaded):
            threading.Thread(target=self._unload, args=(loaded,), name="unload").start()

    def statuses(self) -> dict[int, VersionStatus]:
        """Every version seen so far, newest first, and its state."""
        with self._changed:
            return dict(sorted(self._statuses.items(), reverse=True))

    def available(self) -> bool:
        """Whether a version answers now."""
        with self._changed:
            return self._latest is not None

    def in_flight(self) -> int:
        """How many requests are being answered, on versions that take new ones."""
        with self._changed:
            return sum(loaded.requests for loaded in self._loaded.values())

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

    def poll(self, *, look: bool = True) -> None:
        """Brings what is served in line with the base path and the policy.

        A version is loaded before others are unloaded, so some version answers at every moment
        (availability_preserving_policy.h). One that fails to load is tried again as `Retries` says,
        and when its files change.

        Args:
            look: List the base path first; else go by what was there at the last look.
        """
        if look:
            try:
                present = self._versions_on_disk()
                if self._loaded.keys() - present.keys():
                    # A folder that is renamed during a listing may be in it nowhere: look again
                    # before what answers is given up.
                    present = self._versions_on_disk()
                self._present = present
            except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
                # Perhaps a mount that is away for a moment: what is loaded stays.
                reason = getattr(error, "strerror", None) or error
                self._note(f"cannot read the base path {self.base_path}: {reason}")
                return
        chosen = self.policy.choose(self._present)
        if not chosen:
            self._note(
                f"no versions of model {self.name} under {self.base_path}; a version is a folder "
                "named by a number, with saved_model.pb inside; waiting for one"
            )
        for version in chosen:
            if version not in self._loaded:
                self._try_load(version, self._present[version])
        if not chosen or any(version in self._loaded for version in chosen):
            self._retire(set(self._loaded) - set(chosen))

    def next_retry_s(self) -> float | None:
        """When (`time.monotonic()`) a failed load is due again; None: never."""
        due = [
            failure.next_s
            for version, failure in self._failed.items()
            if failure.tries <= self._retries.count and version in self._present
        ]
        return min(due, default=None)

    def close(self) -> None:
        """Unloads what is loaded, as soon as the last request on it has ended."""
        self._retire(set(self._loaded))

    def _versions_on_disk(self) -> dict[int, Path]:
        versions = {}
        for entry in self.base_path.iterdir():
            if not (entry.name.isascii() and entry.name.isdigit()):
                continue  # a folder being written bears a temporary name
            if int(entry.name) <= _MAX_VERSION and _holds_model(entry):
                versions[int(entry.name)] = entry
        return versions

    def _try_load(self, version: int, path: Path) -> None:
        files = _fingerprint(path)
        before = self._failed.get(version)
        same = before is not None and before.files == files
        if before is not None and same:
            spent = before.tries > self._retries.count
            if spent or time.monotonic() < before.next_s:
                return
        self._set(version, VersionStatus(State.LOADING))
        logger.info("loading model %s version %d from %s", self.name, version, path)
        start = time.monotonic()
        try:
            model = self._load(path)
        except Exception as caught:  # noqa: BLE001  # whatever it is, it is this version's end
            error = _as_request_error(caught)
            tries = before.tries + 1 if before is not None and same else 1
            self._failed[version] = _Failure(
                files, tries, time.monotonic() + self._retries.interval_s
            )
            self._set(version, VersionStatus(State.END, error.code, error.message))
            latest = self._latest
            logger.error(
                "model %s version %d cannot be loaded: %s; %s",
                self.name,
                version,
                " ".join(error.message.split()),
                f"version {latest.version} goes on" if latest else "nothing is served yet",
            )
            return
        self._failed.pop(version, None)
        self._last_note = ""
        self._add(Loaded(version, model))
        logger.info(
            "model %s version %d is available, %.2f s", self.name, version, time.monotonic() - start
        )

    def _add(self, new: Loaded) -> None:
        with self._changed:
            self._loaded[new.version] = new
            self._latest = self._loaded[max(self._loaded)]
            self._statuses[new.version] = VersionStatus(State.AVAILABLE)
            self._changed.notify_all()

    def _retire(self, versions: set[int]) -> None:
        with self._changed:
            retired = [self._loaded.pop(version) for version in sorted(versions)]
            self._latest = self._loaded[max(self._loaded)] if self._loaded else None
            for old in retired:
                old.retired = True
                self._statuses[old.version] = VersionStatus(State.UNLOADING)
            idle = [old for old in retired if old.requests == 0]
            self._changed.notify_all()
        for old in idle:
            if self._unloads is None or not self._submit(self._unloads, old):
                self._unload(old)

    def _submit(self, unloads: Executor, loaded: Loaded) -> bool:
        try:
            unloads.submit(self._unload, loaded)
        except RuntimeError:  # it is shut down: a request has outlasted the server's end
            return False
        return True

    def _unload(self, loaded: Loaded) -> None:
        loaded.model.close()
        self._set(loaded.version, VersionStatus(State.END))
        logger.info("model %s version %d is unloaded", self.name, loaded.version)
        give_back()

    def _set(self, version: int, status: VersionStatus) -> None:
        with self._changed:
            if status.state is State.END and version in self._loaded:
                return  # loaded again while its earlier self was draining
            self._statuses[version] = status
            self._changed.notify_all()

    def _note(self, text: str) -> None:
        """Logs a condition once, not at every poll."""
        if text != self._last_note:
            logger.warning("%s", text)
            self._last_note = text


def _holds_model(folder: Path) -> bool:
    try:
        return any((folder / name).is_file() for name in _MODEL_FILES)
    except OSError:
        return False  # it may not be read, which is no matter of the other versions


def not_served(name: str, version: int | None) -> RequestError:
    """The status for a model or version that is not there, in TensorFlow Serving's words."""
    request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return not_found(f"Servable not found for request: {request}")


def failure_text(status: VersionStatus) -> str:
    """A failed load in one line, for instance `UNKNOWN: OSError: cannot parse ...`."""
    return f"{Code(status.code).name}: {' '.join(status.message.split())}"


def _as_request_error(error: Exception) -> RequestError:
    if isinstance(error, RequestError):
        return error
    return RequestError(Code.UNKNOWN, f"{type(error).__name__}: {error}")


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
