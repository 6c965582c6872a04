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
from tfx_pipeline.runners.beam.local.workers import Helpers, shipped, the_team

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Part:
    """A read, and all in its pass that its rows alone go through, up to results.

    Attributes:
        number: Nobody else's in the pass; here and in a worker the same part has the same.
        read: Where the rows come from.
        files: Their paths and compressions, in the order in which they are merged; in a worker,
            which is told one by one, none.
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


class Reading:
    """The reading of the files of parts, prepared before an operator starts: what goes to other
    processes has nothing set up."""

    def __init__(
        self,
        parts: Sequence[Part],
        kept: dict[Collection, list[Any]],
        store: Store | None,
        helpers: Helpers,
    ) -> None:
        self._store = store
        self._bundles = [*_bundles(parts, store)]
        unknown = self._unknown()
        self._work: Shared[Bundle] = Shared(unknown)
        sizes = [Path(bundle.path).stat().st_size for bundle in unknown]
        self._workers = helpers.for_files(sizes)
        self._shipment = shipped(parts, kept) if self._workers else None

    def run(self) -> None:
        """Gives the results of the parts what their files hold.

        Steps that end in nothing (counters) do not see the rows of files that the store knows.
        """
        if self._shipment is None or not self._shipment.able:
            self._merge_all()
            return
        with the_team().helping(self._workers, self._work, self._shipment):
            self._merge_all()

    def _unknown(self) -> list[Bundle]:
        """Bundles that must be read; of several with the same rows the first, for the store."""
        seen: set[str] = set()
        unknown = []
        for bundle in self._bundles:
            if self._store is None or bundle.key is None:
                unknown.append(bundle)
            elif not self._store.has(bundle.key) and bundle.key not in seen:
                seen.add(bundle.key)
                unknown.append(bundle)
        return unknown

    def _merge_all(self) -> None:
        """Merges each bundle in its turn; until then, reads what nobody has taken."""
        for bundle in self._bundles:
            while self._work.is_open(bundle):
                mine = self._work.take(bundle)
                if mine is None:
                    self._work.wait(bundle)
                else:
                    self._work.done(mine, self._read(mine))
            left = self._work.collect(bundle)
            with _no_collection():
                if isinstance(left, bytes):  # A worker's.
                    left = self._kept(bundle, left)
                elif left is None and self._store is not None and bundle.key is not None:
                    left = self._store.find(bundle.key)
            if left is None:
                left = self._read(bundle)
            with _no_collection():
                bundle.part.merge(left)

    def _read(self, bundle: Bundle) -> list[Any]:
        """What a file leaves, read here; as a later job will find it: pickled once."""
        left = bundle.part.take(bundle.number, bundle.path, bundle.compression)
        if self._store is None or bundle.key is None:
            return left
        with _no_collection():
            try:
                pickled = pickle.dumps(left, pickle.HIGHEST_PROTOCOL)
            except Exception as error:  # noqa: BLE001 - whatever a combiner's class raises
                log.warning("accumulators are not kept: %s: %s", type(error).__name__, error)
                return left
            return self._kept(bundle, pickled) or left

    def _kept(self, bundle: Bundle, pickled: bytes) -> list[Any] | None:
        """What was pickled; None where that cannot be undone."""
        try:
            left: list[Any] = pickle.loads(pickled)
        except Exception as error:  # noqa: BLE001 - whatever a class raises
            log.warning("what was pickled of %s cannot be read: %s", bundle.path, error)
            return None
        if self._store is not None and bundle.key is not None:
            self._store.keep(bundle.key, pickled)
        return left


def _bundles(parts: Sequence[Part], store: Store | None) -> Iterator[Bundle]:
    number = 0
    for part in parts:
        for path, compression in part.files:
            key = key_of(path, compression, part.digest) if store and part.digest else None
            yield Bundle(part, number, path, compression, key)
            number += 1


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
