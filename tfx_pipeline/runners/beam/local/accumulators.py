"""What combiners took in of each input file, on disk: a later job need not read that file again.

`--accumulators=FOLDER` turns this on. One file of accumulators stands for one input file and the
steps that its rows went through; its name is the digest of both. So a file that is there holds
what these steps would make of these bytes, whoever wrote it and when.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import platform
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from apache_beam.internal import cloudpickle_pickler
from apache_beam.options.pipeline_options import PipelineOptions

from tfx_pipeline.files import link
from tfx_pipeline.runners.beam.local.options import LocalOptions
from tfx_pipeline.runners.beam.local.plan import Step

log = logging.getLogger(__name__)

# For each combine, what its `take` gives.
Found = list[Any]

# Changes when the operators would make other accumulators of the same rows.
_FORMAT = 2
_PACKAGES = (
    "apache-beam",
    "tensorflow-data-validation",
    "tensorflow-metadata",
    "tfx",
    "tfx-bsl",
    "tensorflow",
    "numpy",
    "pyarrow",
    "protobuf",
    "tfx-assay",
)
_WRITING = ".writing"  # The ending of a file that is not whole yet.
_CHECKSUM_BYTES = hashlib.sha256().digest_size


@dataclass
class Store:
    """The accumulators of one job.

    Attributes:
        folder: Those of all files that the job reads; it is made when the first is written.
        earlier: Where to look first, in this order.
        files: So many were asked for.
        known: So many of them were there.
    """

    folder: Path
    earlier: list[Path] = field(default_factory=list)
    files: int = 0
    known: int = 0

    @classmethod
    def of(cls, options: PipelineOptions) -> Store | None:
        """The store that a job's options ask for; None where they ask for none."""
        given = options.view_as(LocalOptions)
        if not given.accumulators:
            return None
        return cls(Path(given.accumulators), [Path(path) for path in given.earlier_accumulators])

    def has(self, key: str) -> bool:
        """Whether there are accumulators under a key, be they damaged; counts the file."""
        self.files += 1
        return any((folder / _name(key)).is_file() for folder in self.earlier)

    def find(self, key: str) -> Found | None:
        """The accumulators under a key; None where there are none, or where they are damaged."""
        for folder in self.earlier:
            path = folder / _name(key)
            found = _load(path)
            if found is not None:
                self._take_over(path)
                self.known += 1
                return found
        return None

    def keep(self, key: str, pickled: bytes) -> None:
        """Writes accumulators. What cannot be written costs a later job its time."""
        # Sketches shrink to a fifth in a hundredth of a second.
        payload = zlib.compress(pickled, level=1)
        try:
            with self._whole(_name(key)) as path, path.open("wb") as file:
                file.write(hashlib.sha256(payload).digest())
                file.write(payload)
        except OSError as error:
            log.warning("accumulators are not kept: %s", error)

    def _take_over(self, path: Path) -> None:
        """Has an earlier job's file in this one's folder too: the next job looks here alone, and
        the earlier folder may be deleted."""
        if path.parent == self.folder:
            return
        try:
            with self._whole(path.name) as mine:
                link(path, mine)
        except OSError as error:
            log.warning("accumulators are not kept: %s", error)

    @contextmanager
    def _whole(self, name: str) -> Iterator[Path]:
        """A path to write to, which gets its name when all is written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f".{name}.{os.getpid()}{_WRITING}"
        try:
            path.unlink(missing_ok=True)
            yield path
            path.replace(self.folder / name)
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes what a job that was killed while it wrote has left in a folder that is nobody else's
    now."""
    for path in folder.glob(f".*{_WRITING}"):
        with suppress(OSError):
            path.unlink()


def digest_of(steps: Iterable[Step]) -> str | None:
    """The digest of the steps that a file's rows go through, from their read on, with the versions
    of what runs them; None where a step cannot be pickled.

    A step is digested as Beam's pickler writes its work: parameters and lambdas by value,
    code of modules by its name, for which the versions stand.
    """
    numbers: dict[Any, int] = {}
    digest = hashlib.sha256(repr(_versions()).encode())
    for step in steps:
        taken = sorted(numbers[pcoll] for pcoll in step.inputs if pcoll in numbers)
        for _, pcoll in sorted(step.outputs.items(), key=_tag):
            numbers[pcoll] = len(numbers)
        made = [(repr(tag), numbers[pcoll]) for tag, pcoll in step.outputs.items()]
        digest.update(repr((step.kind, step.label, taken, sorted(made))).encode())
        if step.kind == "read":
            continue  # Its pattern names a folder; the bytes of the files are in the key.
        try:
            pickled = cloudpickle_pickler.dumps(step.work)
        except Exception as error:  # noqa: BLE001 - whatever a transform's class raises
            log.info("every file is read: %s cannot be pickled: %s", step.label, error)
            return None
        digest.update(hashlib.sha256(pickled).digest())
    return digest.hexdigest()


def key_of(path: str, compression: str, steps: str) -> str:
    """The key of an input file: of its bytes, and of `digest_of` the steps."""
    with Path(path).open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(f"{content} {compression} {steps}".encode()).hexdigest()


def _tag(output: tuple[Any, Any]) -> str:
    """An order of outputs, whose tags may be None and text."""
    return repr(output[0])


def _name(key: str) -> str:
    return f"{key}.pkl"


def _load(path: Path) -> Found | None:
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    payload = memoryview(stored)[_CHECKSUM_BYTES:]
    if hashlib.sha256(payload).digest() != stored[:_CHECKSUM_BYTES]:
        log.warning("%s is damaged: its input file is read again", path)
        return None
    try:
        found: Found = pickle.loads(zlib.decompress(payload))
    except Exception as error:  # noqa: BLE001 - whatever the classes inside raise
        log.warning("%s cannot be read, its input file is read again: %s", path, error)
        return None
    return found


@cache
def _versions() -> dict[str, str]:
    """Of all that may change what the same steps make of the same bytes."""
    found = {"format": str(_FORMAT), "python": platform.python_version()}
    found["machine"] = platform.machine()
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found
