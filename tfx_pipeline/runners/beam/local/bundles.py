"""Input files as bundles: read here, in worker processes, or not at all where an earlier job has.

What a file's rows leave in the results of a pass depends on nothing but the file and the steps. So
it may be computed anywhere, and it is merged in the order of the files: the results are the same
for any number of processes.
"""

from __future__ import annotations

import gc
import logging
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_pipeline.runners.beam.local import operators as ops
from tfx_pipeline.runners.beam.local.accumulators import Store, digest_of, key_of
from tfx_pipeline.runners.beam.local.files import read_tfrecords, tfrecord_files
from tfx_pipeline.runners.beam.local.plan import BARRIERS, Collection, Step
from tfx_pipeline.runners.beam.local.sharing import Shared
from tfx_pipeline.runners.beam.local.workers import Helpers, shipped

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Part:
    """A read, and all in its pass that its rows alone go through, up to results.

    Attributes:
        number: Nobody else's in the pass.
        read: Where the rows come from.
        files: Their paths and compressions, in the order in which they are merged.
        operators: What the rows go through, in order.
        digest: Of the steps, with their parameters and versions; None where what they leave is not
            kept for other jobs.
    """

    number: int
    read: ops.Read
    files: list[tuple[str, str]]
    operators: list[ops.Operator]
    digest: str | None = None

    @property
    def results(self) -> list[ops.Result]:
        """Those of the operators that make one."""
        return [operator for operator in self.operators if isinstance(operator, ops.Result)]

    @property
    def steps(self) -> list[Step]:
        """Of the read and the operators."""
        return [self.read.step, *(operator.step for operator in self.operators)]

    def take(self, bundle: int, path: str, compression: str) -> list[Any]:
        """Reads a file; of each result what the rows left in it."""
        for operator in self.operators:
            operator.begin(bundle)
        for chunk in read_tfrecords(path, compression):
            self.read.push(chunk)
        for operator in self.operators:
            operator.end()
        return [result.take() for result in self.results]

    def merge(self, taken: list[Any]) -> None:
        """Takes in what `take` gave, here or elsewhere."""
        for result, left in zip(self.results, taken, strict=True):
            result.merge(left)


@dataclass(eq=False, frozen=True)
class Bundle:
    """A file of a part. `key`: its accumulators' in a store."""

    part: Part
    number: int
    path: str
    compression: str
    key: str | None


def parts_of(
    running: Sequence[ops.Operator], kept: dict[Collection, list[Any]], store: Store | None
) -> list[Part]:
    """The parts of a pass that can go file by file: all behind the read, up to results, has its
    rows from there alone."""
    reads = [operator for operator in running if isinstance(operator, ops.Read)]
    found = [_part(number, read, running, kept) for number, read in enumerate(reads)]
    parts = [part for part in found if part is not None]
    if store is not None:
        for part in parts:
            combines = part.results and all(isinstance(r, ops.Combine) for r in part.results)
            if combines and not any(step.sides for step in part.steps):
                part.digest = digest_of(part.steps)
    return parts


def _part(
    number: int,
    read: ops.Read,
    running: Sequence[ops.Operator],
    kept: dict[Collection, list[Any]],
) -> Part | None:
    files = tfrecord_files(read.step.work)
    if files is None:
        return None
    inside: list[ops.Operator] = []
    coming = set(read.step.outputs.values())
    for operator in running:
        step = operator.step
        if not coming.intersection(step.inputs):
            continue
        if not coming.issuperset(step.inputs):
            return None
        inside.append(operator)
        if step.kind not in BARRIERS:
            coming |= {made for made in step.outputs.values() if made not in kept}
    return Part(number, read, files, inside)


def run(
    parts: Sequence[Part],
    kept: dict[Collection, list[Any]],
    store: Store | None,
    helpers: Helpers | None,
) -> None:
    """Gives the results of parts what their files hold.

    Steps that end in nothing (counters) do not see the rows of files that the store knows.
    """
    bundles = [*_bundles(parts, store)]
    unknown = [b for b in bundles if not (store and b.key and store.has(b.key))]
    work = Shared(unknown)
    sizes = [Path(bundle.path).stat().st_size for bundle in unknown]
    team = helpers.for_files(sizes) if helpers else None
    if team is None:
        _merge_all(bundles, work, store)
        return
    with team.helping(work, shipped(parts, kept)):
        _merge_all(bundles, work, store)


def _bundles(parts: Sequence[Part], store: Store | None) -> Iterator[Bundle]:
    number = 0
    for part in parts:
        for path, compression in part.files:
            key = key_of(path, compression, part.digest) if store and part.digest else None
            yield Bundle(part, number, path, compression, key)
            number += 1


def _merge_all(bundles: Sequence[Bundle], work: Shared[Bundle], store: Store | None) -> None:
    """Merges each bundle in its turn; until then, reads what nobody has taken."""
    for bundle in bundles:
        while work.has(bundle):
            mine = work.take()
            if mine is None:
                work.wait(bundle)
            else:
                work.done(mine, _read(mine, store))
        left = work.results.pop(bundle, None)
        with _no_collection():
            if isinstance(left, bytes):  # A worker's.
                left = _kept(bundle, left, store)
            elif left is None and store is not None and bundle.key is not None:
                left = store.find(bundle.key)
        if left is None:  # The store's was damaged.
            left = _read(bundle, store)
        with _no_collection():
            bundle.part.merge(left)


def _read(bundle: Bundle, store: Store | None) -> list[Any]:
    """What a file leaves, read here; as a later job will find it: pickled once."""
    left = bundle.part.take(bundle.number, bundle.path, bundle.compression)
    if store is None or bundle.key is None:
        return left
    with _no_collection():
        try:
            pickled = pickle.dumps(left, pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # noqa: BLE001 - whatever a combiner's class raises
            log.warning("accumulators are not kept: %s: %s", type(error).__name__, error)
            return left
        return _kept(bundle, pickled, store)


def _kept(bundle: Bundle, pickled: bytes, store: Store | None) -> list[Any]:
    if store is not None and bundle.key is not None:
        store.keep(bundle.key, pickled)
    left: list[Any] = pickle.loads(pickled)
    return left


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection: a column of different texts makes a tuple of each, all of which stay,
    and looking through them again and again takes as long as reading the rows."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
