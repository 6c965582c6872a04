"""Where a candidate is not smaller or not faster on the server that was asked, and why."""

from __future__ import annotations

import math

from tfx_pipeline.gates.serving.measured import Measured
from trainer.compression.candidate import Candidate
from trainer.compression.config import FLOAT

# Ratios nearer to 1 than this are no gain: bytes are exact, times are not.
_SMALLER = 0.98
_FASTER = 0.95


def no_gain(candidate: Candidate, measured: Measured, parent: Measured | None) -> str:
    """`no gain on this server, because ...`; empty where it is both smaller and faster.

    A figure that is not known is no reason to say so.

    Args:
        candidate: The row of the ladder.
        measured: What was measured of it.
        parent: The float model, with which it is compared.
    """
    if candidate.name == FLOAT or measured.failed or parent is None or parent.failed:
        return ""
    size = _ratio(measured.served_bytes, parent.served_bytes)
    time = math.nan if measured.latency is None else measured.latency.p50_ratio
    larger, slower = size >= _SMALLER, time >= _FASTER
    if not (larger or slower):
        return ""
    what = "no gain" if larger and slower else "not smaller" if larger else "not faster"
    why = _why(candidate, measured, larger=larger, slower=slower)
    gzip = _ratio(measured.gzip_bytes, parent.gzip_bytes)
    packed = f" (gzipped it is {gzip:.2f} of float)" if larger and gzip < _SMALLER else ""
    return f"{what} on this server, because {why}{packed}"


def _why(candidate: Candidate, measured: Measured, *, larger: bool, slower: bool) -> str:
    wanted = {"stores": larger, "multiplies": slower}
    does = " and ".join(word for word, is_wanted in wanted.items() if is_wanted)
    if not measured.runs_core and candidate.has_core:
        return f"it {does} the SavedModel's float weights and leaves the TFLite core aside"
    if candidate.method != "distill":
        if not measured.runs_core:
            return f"a SavedModel {does} its weights as floats, be they zero or alike"
        if candidate.numbers == "float32":
            return f"its core {does} its weights as floats, be they zero or alike"
    reasons = []
    if larger:
        student = "the student has as many weights"
        reasons.append(student if candidate.method == "distill" else "its core is hardly weights")
    if slower:
        reasons.append("the model is a small part of a request beside parsing and features")
    return " and ".join(reasons)


def _ratio(one: int | None, other: int | None) -> float:
    return one / other if one and other else math.nan
