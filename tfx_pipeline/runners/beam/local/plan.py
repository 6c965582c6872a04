"""From a Beam pipeline to the steps that `LocalRunner` knows how to run, in their order.

It reads the pipeline's object graph, not its proto: nothing is pickled. What is not known
(state, timers, splittable functions, windows, other languages) raises `Unsupported`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from apache_beam import coders, pvalue
from apache_beam.io import iobase, tfrecordio
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.pipeline import AppliedPTransform, Pipeline
from apache_beam.transforms import core, util
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


@dataclass(eq=False)
class Step:
    """One step: its Beam transform, and the collections that it reads and makes."""

    kind: Kind
    label: str
    transform: Any
    inputs: tuple[Any, ...]
    outputs: dict[Any, Any] = field(default_factory=dict)
    sides: tuple[Any, ...] = ()

    @cached_property
    def reads(self) -> set[Any]:
        """Every collection that must be there, or flow, before this step can run."""
        return {*self.inputs, *(side.pvalue for side in self.sides)}


def make_plan(pipeline: Pipeline) -> list[Step]:
    """A pipeline's steps, each behind those that it reads from.

    Raises:
        Unsupported: One of them is not known here.
    """
    steps: list[Step] = []
    for part in pipeline._root_transform().parts:
        _add(part, steps)
    produced = {pcoll for step in steps for pcoll in step.outputs.values()}
    for step in steps:
        missing = step.reads - produced
        if missing:
            raise Unsupported(f"{step.label} reads {missing}, which no known step makes")
    return steps


def without_idle(steps: list[Step]) -> list[Step]:
    """A plan's steps but for reads, and what only hands on their rows, that lead to no other."""
    wanted: set[Any] = set()
    busy = []
    for step in reversed(steps):
        idle = step.kind in _IDLE or (
            step.kind == "do" and isinstance(step.transform.dofn, _DECODERS)
        )
        if not idle or not wanted.isdisjoint(step.outputs.values()):
            busy.append(step)
            wanted |= step.reads
    return busy[::-1]


def _add(applied: AppliedPTransform, steps: list[Step]) -> None:
    kind = _kind(applied)
    if kind is not None:
        steps.append(_step(kind, applied))
        return
    if not applied.parts and any(out.producer is applied for out in applied.outputs.values()):
        raise Unsupported(f"{applied.full_label}: {type(applied.transform).__name__}")
    for part in applied.parts:
        _add(part, steps)


def _step(kind: Any, applied: AppliedPTransform) -> Step:
    outputs = {
        tag: out for tag, out in applied.outputs.items() if isinstance(out, pvalue.PCollection)
    }
    step = Step(
        kind,
        applied.full_label,
        applied.transform,
        tuple(i for i in applied.inputs if isinstance(i, pvalue.PCollection)),
        outputs,
        tuple(applied.side_inputs) if kind == "do" else (),
    )
    together = step.inputs if kind in ("group", "combine", "batch") else ()
    for pcoll in (*together, *(side.pvalue for side in step.sides)):
        if not pcoll.windowing.is_default():
            raise Unsupported(f"{step.label}: windows")
    for side in step.sides:
        if type(side) not in _VIEWS:
            raise Unsupported(f"{step.label}: side input {type(side).__name__}")
    return step


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
            return "same"  # There is one worker.
        case core.Flatten():
            return "flatten"
        case util.BatchElements() if applied.transform._length_fn is None:
            return "batch"
        case tfrecordio.WriteToTFRecord() if is_plain_write(applied.transform):
            return "write"
        case core.CombinePerKey() | core._CombinePerKeyWithHotKeyFanout():
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
