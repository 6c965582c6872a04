"""From the steps of a pass to operators that hand their elements on to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfx_pipeline.runners.beam.local import operators as ops
from tfx_pipeline.runners.beam.local.graphs import Graph
from tfx_pipeline.runners.beam.local.plan import BARRIERS, Collection, Step

_KINDS = {
    "impulse": ops.Impulse,
    "read": ops.Read,
    "same": ops.Same,
    "flatten": ops.Same,
    "batch": ops.Batch,
    "write": ops.Write,
    "group": ops.Group,
    "combine": ops.Combine,
    "keep": ops.KeepAll,
}
Kept = dict[Collection, list[Any]]


def connect(
    steps: Sequence[Step], kept: Kept, graphs: dict[Any, Graph]
) -> tuple[list[ops.Operator], Kept]:
    """Operators for steps, in their order, and what will be kept of what they make.

    Args:
        steps: Of a pass, in the plan's order.
        kept: The collections that are there; what reads them is fed by somebody else.
        graphs: Loaded models, for all operators of the pass.
    """
    readers: dict[Collection, list[ops.Operator]] = {}
    made: Kept = {}
    running: list[ops.Operator] = []
    for step in reversed(steps):
        receivers = ops.Receivers()
        for tag, collection in step.outputs.items():
            if step.kind in BARRIERS:
                made[collection] = []
                receivers[tag] = ops.Keep(made[collection])
            else:
                receivers[tag] = _receiver(readers.get(collection, []))
        operator = operator_of(step, receivers, kept, graphs)
        running.append(operator)
        for collection in step.inputs:
            if collection not in kept:
                readers.setdefault(collection, []).insert(0, operator)
    return running[::-1], made


def operator_of(
    step: Step, receivers: ops.Receivers, kept: Kept, graphs: dict[Any, Graph]
) -> ops.Operator:
    """What runs a step."""
    if step.kind == "do":
        return ops.Do(step, receivers, [kept[side.collection] for side in step.sides], graphs)
    return _KINDS[step.kind](step, receivers)


def _receiver(targets: list[ops.Operator]) -> ops.Fan | ops.Single:
    return ops.Single(targets[0]) if len(targets) == 1 else ops.Fan(targets)
