"""Input files as bundles: of a file that an earlier job has read, its accumulators are enough."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tfx_pipeline.runners.beam.local import operators as ops
from tfx_pipeline.runners.beam.local.accumulators import Store, digest_of, key_of
from tfx_pipeline.runners.beam.local.files import read_tfrecords, tfrecord_files
from tfx_pipeline.runners.beam.local.plan import BARRIERS


@dataclass
class Part:
    """A read, and all in its pass that its rows go through, up to combines.

    Attributes:
        read: Where the rows come from.
        files: Their paths and compressions, in the order in which they are merged.
        operators: What the rows go through, in order; `combines` among them.
        steps: Digest of them.
    """

    read: ops.Read
    files: list[tuple[str, str]]
    operators: list[ops.Operator]
    combines: list[ops.Combine]
    steps: str

    def run(self, store: Store) -> None:
        """Gives the combines what the files hold, from the store where it has it.

        Steps that end in nothing (counters) do not see the rows of files that are known.
        """
        for path, compression in self.files:
            key = key_of(path, compression, self.steps)
            with _no_collection():
                found = store.find(key)
            if found is None:
                self._read(path, compression)
                with _no_collection():
                    found = store.keep(key, [combine.take() for combine in self.combines])
            with _no_collection():
                for combine, taken in zip(self.combines, found, strict=True):
                    combine.merge(taken)

    def _read(self, path: str, compression: str) -> None:
        for operator in self.operators:
            operator.begin()
        for chunk in read_tfrecords(path, compression):
            self.read.push(chunk)
        for operator in self.operators:
            operator.end()


def parts_of(running: list[ops.Operator]) -> dict[ops.Operator, Part]:
    """The parts of a pass that can go file by file, by their reads.

    All behind the read must be its alone, without side inputs, and end in combines: then what the
    rows of a file add to the result depends on nothing else.
    """
    found = [_part(read, running) for read in running if isinstance(read, ops.Read)]
    return {part.read: part for part in found if part is not None}


def _part(read: ops.Read, running: list[ops.Operator]) -> Part | None:
    files = tfrecord_files(read.step.transform.source)
    if files is None:
        return None
    inside: list[ops.Operator] = []
    coming: set[Any] = set(read.step.outputs.values())
    for operator in running:
        step = operator.step
        if not coming & step.reads:
            continue
        if step.sides or getattr(step.transform, "side_inputs", ()) or set(step.inputs) - coming:
            return None
        inside.append(operator)
        if step.kind not in BARRIERS:
            coming |= set(step.outputs.values())
        elif step.kind != "combine":
            return None
    combines = [operator for operator in inside if isinstance(operator, ops.Combine)]
    digest = digest_of([read.step, *(operator.step for operator in inside)]) if combines else None
    return None if digest is None else Part(read, files, inside, combines, digest)


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
