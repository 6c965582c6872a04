"""The order of things: small collections are kept, rows are read again instead of being kept.

A pass reads the sources once and takes every step that can be taken. What waits for the result of
one (a mean, a vocabulary) is for the next pass, which reads the rows again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from tfx_pipeline.runners.beam.local import operators as ops
from tfx_pipeline.runners.beam.local.accumulators import Store
from tfx_pipeline.runners.beam.local.bundles import Reading, parts_of
from tfx_pipeline.runners.beam.local.plan import BARRIERS, Collection, Step, without_idle
from tfx_pipeline.runners.beam.local.waiting import Waiting
from tfx_pipeline.runners.beam.local.wiring import Kept, connect, operator_of
from tfx_pipeline.runners.beam.local.workers import Helpers

log = logging.getLogger(__name__)


def run(steps: list[Step], store: Store | None, helpers: Helpers) -> int:
    """Runs a plan; how many passes over the rows it took.

    Args:
        steps: Of the plan, in order.
        store: Accumulators of files that need not be read again; None: there is none.
        helpers: How many other processes may read files.
    """
    steps = without_idle(steps)
    flowing = _flowing(steps)
    steps = _with_keeps(steps, flowing)
    kept: Kept = {}
    waiting = Waiting(steps, flowing)
    passes = 0
    while waiting.steps:
        ready = waiting.next()
        if ready is not None:
            _run_kept(ready, kept)
            waiting.ran([ready], kept)
        else:
            waiting.ran(_run_pass(steps, waiting.steps, kept, store, helpers), kept)
            passes += 1
    return passes


def _flowing(steps: list[Step]) -> set[Collection]:
    """The collections that come from a source's rows, with no barrier between."""
    flowing: set[Collection] = set()
    for step in steps:
        if step.kind == "read" or (
            step.kind not in BARRIERS and any(pcoll in flowing for pcoll in step.inputs)
        ):
            flowing |= set(step.outputs.values())
    return flowing


def _with_keeps(steps: list[Step], flowing: set[Collection]) -> list[Step]:
    """A step more behind each collection of rows that another step reads as a whole."""
    wanted = {side.collection for step in steps for side in step.sides} & flowing
    result = []
    for step in steps:
        result.append(step)
        result += [
            Step("keep", f"{step.label}/keep", None, (pcoll,), {None: pcoll})
            for pcoll in step.outputs.values()
            if pcoll in wanted
        ]
    return result


def _run_kept(step: Step, kept: Kept) -> None:
    """One step over collections that are there."""
    if step.kind == "keep":
        return  # What makes its rows ran over kept ones, so that these are kept as well.
    receivers = ops.Receivers()
    for tag, pcoll in step.outputs.items():
        kept[pcoll] = []
        receivers[tag] = ops.Keep(kept[pcoll])
    operator = operator_of(step, receivers, kept, {})
    try:
        operator.clear()
        operator.start()
        operator.begin(0)
        for pcoll in step.inputs:
            for element in kept[pcoll]:
                operator.process(element)
        _finish(operator)
    except BaseException:
        operator.abandon()
        operator.clear()
        raise


def _run_pass(
    steps: list[Step],
    waiting: Iterable[Step],
    kept: Kept,
    store: Store | None,
    helpers: Helpers,
) -> list[Step]:
    """One pass over the rows; the steps that have run in it for the first time."""
    able = _able(steps, kept)
    chosen = _for_this_pass(steps, waiting, able, kept)
    new = [step for step in waiting if step in chosen]
    if not new:
        names = ", ".join(step.label for step in [*waiting][:3])
        raise RuntimeError(f"nothing can run: {names} wait for each other")
    taking_part = _with_sources(steps, new, able, kept)
    running, made = connect(taking_part, kept, {})
    log.info("reading rows for %d steps", len(running))
    parts = parts_of(running, kept, store)
    by_file = {operator for part in parts for operator in (part.read, *part.operators)}
    others = [operator for operator in running if operator not in by_file]
    reading = Reading(parts, kept, store, helpers)
    try:
        for operator in running:
            operator.clear()
            operator.start()
        reading.run()
        for operator in others:
            operator.begin(0)
        for operator in others:
            # Behind all that it reads from: when its turn comes, its last element has come.
            _feed(operator, kept)
            _finish(operator)
        for operator in running:
            if operator in by_file:
                operator.finish()
    except BaseException:
        for operator in running:
            operator.abandon()
            operator.clear()
        raise
    kept.update(made)
    return new


def _able(steps: list[Step], kept: Kept) -> set[Step]:
    """The steps that a pass reaches: their side inputs are there, and their rows come by."""
    able: set[Step] = set()
    coming: set[Any] = set()
    for step in steps:
        if any(side.collection not in kept for side in step.sides):
            continue
        if step.kind != "read" and not (
            step.inputs and all(p in kept or p in coming for p in step.inputs)
        ):
            continue
        able.add(step)
        if step.kind not in BARRIERS:
            coming |= set(step.outputs.values())
    return able


def _for_this_pass(
    steps: list[Step], waiting: Iterable[Step], able: set[Step], kept: Kept
) -> set[Step]:
    """Of the steps that a pass reaches, those that should be in it: what leads to a result, and of
    what only counts what gets its rows from there. What reads and decodes for others that still
    wait is for their pass."""
    here = able.intersection(waiting)
    results = {step for step in here if step.kind in BARRIERS}
    read = {pcoll for step in steps for pcoll in step.reads}
    all_ends = results | {step for step in here if read.isdisjoint(step.outputs.values())}
    chosen = _leading_to(results, steps, able)
    if not chosen:
        return _leading_to(all_ends, steps, able)
    coming = {pcoll for step in chosen for pcoll in step.outputs.values()}
    counting = _leading_to(all_ends, steps, able)
    for step in steps:
        if step in counting and step.inputs and {*step.inputs} <= kept.keys() | coming:
            chosen.add(step)
            coming |= set(step.outputs.values())
    return chosen


def _leading_to(ends: set[Step], steps: list[Step], able: set[Step]) -> set[Step]:
    """These steps, and those whose rows come to them."""
    found: set[Step] = set()
    wanted: set[Any] = set()
    for step in reversed(steps):
        if step in ends or (step in able and not wanted.isdisjoint(step.outputs.values())):
            found.add(step)
            wanted |= step.reads
    return found


def _with_sources(steps: list[Step], new: list[Step], able: set[Step], kept: Kept) -> list[Step]:
    """New steps and what they get their rows from, in order."""
    wanted = set(new)
    needed: set[Any] = set()
    for step in reversed(steps):
        feeds = step.kind not in BARRIERS and any(p in needed for p in step.outputs.values())
        if step in able and (step in wanted or feeds):
            wanted.add(step)
            needed |= {pcoll for pcoll in step.inputs if pcoll not in kept}
    return [step for step in steps if step in wanted]


def _finish(operator: ops.Operator) -> None:
    """Ends the one bundle of an operator, and the operator."""
    operator.end()
    if isinstance(operator, ops.Result):
        operator.merge(operator.take())
    operator.finish()


def _feed(operator: ops.Operator, kept: Kept) -> None:
    """Gives an operator what no other operator of the pass gives it."""
    if isinstance(operator, ops.Read):
        operator.run()
    for pcoll in operator.step.inputs:
        for element in kept.get(pcoll, ()):
            operator.process(element)
