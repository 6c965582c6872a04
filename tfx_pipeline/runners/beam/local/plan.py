"""From a Beam pipeline to the steps that `LocalRunner` knows how to run, in their order.

It reads the pipeline's object graph, not its proto: nothing is pickled. What is not known
(state, timers, splittable functions, windows, other languages) raises `Unsupported`. The steps
themselves hold nothing of the pipeline, so that they can go to another process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from apache_beam import coders, pvalue
from apache_beam.io import iobase, tfrecordio
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.pipeline import AppliedPTransform, Pipeline
from apache_beam.transforms import combiners, core, util
from tfx_bsl.tfxio import telemetry, tf_example_record

Kind = Literal[
    "impulse", "read", "do", "same", "flatten", "batch", "write", "group", "combine", "keep"
]

# What a step takes in is complete before anything comes out of it.
BARRIERS = ("group", "combine", "keep", "write")
# They count for a metrics service, of which there is none, row by row.
_COUNTERS = (telemetry._ProfileRawRecordDoFn, telemetry._ProfileRecordBatchDoFn)
# TensorFlow's names of the compressions that it reads and writes.
COMPRESSIONS = {
    CompressionTypes.AUTO: None,  # By the ending.
    CompressionTypes.GZIP: "GZIP",
    CompressionTypes.UNCOMPRESSED: "",
}
# They do nothing but hand on, or decode, what they get.
_IDLE = ("read", "same", "flatten", "batch")
_DECODERS = (tf_example_record._DecodeBatchExamplesDoFn,)
_VIEWS = (pvalue.AsSingleton, pvalue.AsIter, pvalue.AsList, pvalue.AsDict)


class Unsupported(Exception):
    """Raised for a pipeline with a step that is not known here; Beam's own runner then takes it."""


@dataclass(frozen=True)
class Collection:
    """A `PCollection`: the same here and in another process when its number is."""

    number: int
    element_type: Any = field(compare=False)
    windowing: Any = field(compare=False)


@dataclass(frozen=True)
class Side:
    """A side input: how a function sees a collection."""

    collection: Collection
    view: type
    options: Any = field(compare=False)


@dataclass(frozen=True)
class Function:
    """What a `ParDo` calls; for each of its side inputs there is a place in the arguments."""

    dofn: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(eq=False)
class Step:
    """One step: what it does, and the collections that it reads and makes.

    Attributes:
        work: Of a `do` its `Function`; of a `read` Beam's source; of a `write` its sink; of a
            `combine` the `CombineFn`; of a `batch` the most elements of one. None of the others.
    """

    kind: Kind
    label: str
    work: Any
    inputs: tuple[Collection, ...]
    outputs: dict[Any, Collection] = field(default_factory=dict)
    sides: tuple[Side, ...] = ()

    @cached_property
    def reads(self) -> set[Collection]:
        """Every collection that must be there, or flow, before this step can run."""
        return {*self.inputs, *(side.collection for side in self.sides)}


def make_plan(pipeline: Pipeline) -> list[Step]:
    """A pipeline's steps, each behind those that it reads from.

    Raises:
        Unsupported: One of them is not known here.
    """
    planner = _Planner()
    for part in pipeline._root_transform().parts:
        planner.add(part)
    produced = {made for step in planner.steps for made in step.outputs.values()}
    for step in planner.steps:
        if step.reads - produced:
            raise Unsupported(f"{step.label} reads what no known step makes")
    return planner.steps


def without_idle(steps: list[Step]) -> list[Step]:
    """A plan's steps but for reads, and what only hands on their rows, that lead to no other."""
    wanted: set[Any] = set()
    busy = []
    for step in reversed(steps):
        idle = step.kind in _IDLE or (step.kind == "do" and isinstance(step.work.dofn, _DECODERS))
        if not idle or not wanted.isdisjoint(step.outputs.values()):
            busy.append(step)
            wanted |= step.reads
    return busy[::-1]


class _Planner:
    """Collects the steps of a pipeline, part by part."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._collections: dict[pvalue.PCollection, Collection] = {}

    def add(self, applied: AppliedPTransform) -> None:
        """A transform: as a step, or by its parts."""
        kind = _kind(applied)
        if kind is not None:
            self.steps.append(self._step(kind, applied))
            return
        if not applied.parts and any(out.producer is applied for out in applied.outputs.values()):
            raise Unsupported(f"{applied.full_label}: {type(applied.transform).__name__}")
        for part in applied.parts:
            self.add(part)

    def _step(self, kind: Any, applied: AppliedPTransform) -> Step:
        label = applied.full_label
        inputs = [i for i in applied.inputs if isinstance(i, pvalue.PCollection)]
        sides = applied.side_inputs if kind == "do" else ()
        for side in sides:
            if type(side) not in _VIEWS:
                raise Unsupported(f"{label}: side input {type(side).__name__}")
        together = inputs if kind in ("group", "combine", "batch") else ()
        for pcoll in (*together, *(side.pvalue for side in sides)):
            if not pcoll.windowing.is_default():
                raise Unsupported(f"{label}: windows")
        outputs = applied.outputs.items()
        return Step(
            kind,
            label,
            _work(kind, applied.transform),
            tuple(map(self._collection, inputs)),
            {t: self._collection(out) for t, out in outputs if isinstance(out, pvalue.PCollection)},
            tuple(Side(self._collection(s.pvalue), type(s), s._view_options()) for s in sides),
        )

    def _collection(self, pcoll: pvalue.PCollection) -> Collection:
        if pcoll not in self._collections:
            number = len(self._collections)
            self._collections[pcoll] = Collection(number, pcoll.element_type, pcoll.windowing)
        return self._collections[pcoll]


def _work(kind: Kind, transform: Any) -> Any:
    """What a step needs of its transform, which holds much more: see `Step`."""
    match kind:
        case "do":
            return Function(transform.dofn, transform.args, transform.kwargs)
        case "read":
            return transform.source
        case "write":
            return transform._sink
        case "batch":
            return transform._batch_size_estimator._max_batch_size
        case "combine" if isinstance(transform, core.CombinePerKey):
            return combiners.curry_combine_fn(transform.fn, transform.args, transform.kwargs)
        case "combine":
            return transform._combine_fn  # Of a fan-out over workers, which needs no other care.
    return None


def _kind(applied: AppliedPTransform) -> str | None:
    """How a transform is run; None: by its parts."""
    match applied.transform:
        case core.Impulse():
            return "impulse"
        case iobase.Read(source=iobase.BoundedSource()):
            return "read"
        case core.ParDo():
            if isinstance(applied.transform.dofn, _COUNTERS):
                return "same"
            _check_function(applied)
            return "do"
        case util.Reshuffle() | util.ReshufflePerKey():
            return "same"  # Rows are where they are read.
        case core.Flatten():
            return "flatten"
        case util.BatchElements() if applied.transform._length_fn is None:
            return "batch"
        case tfrecordio.WriteToTFRecord() if is_plain_write(applied.transform):
            return "write"
        case core.CombinePerKey() | core._CombinePerKeyWithHotKeyFanout():
            if getattr(applied.transform, "side_inputs", ()):
                raise Unsupported(f"{applied.full_label}: a combiner with side inputs")
            return "combine"
        case core.GroupByKey() if not applied.parts:
            return "group"
    return None


def _check_function(applied: AppliedPTransform) -> None:
    function = applied.transform.dofn
    signature = applied.transform._signature  # Beam's own; it takes long to find out.
    odd = (
        signature.is_stateful_dofn()
        or signature.is_splittable_dofn()
        or (function._process_batch_defined and not function._process_defined)
        or function._process_yields_batches
        or function._process_batch_yields_elements
    )
    if odd:
        raise Unsupported(f"{applied.full_label}: {type(function).__name__}")


def is_plain_write(transform: tfrecordio.WriteToTFRecord) -> bool:
    """Whether files on this machine are written, as many as it takes, and nobody asks which."""
    sink = transform._sink
    return (
        type(transform).expand is tfrecordio.WriteToTFRecord.expand  # Others may do more.
        and isinstance(sink.coder, coders.BytesCoder)
        and sink.compression_type in COMPRESSIONS
        and not sink.num_shards
        and "://" not in sink.file_path_prefix.get()
        and sink.file_name_suffix.get() in ("", ".gz")
        and sink.shard_name_template == "-SSSSS-of-NNNNN"
    )
