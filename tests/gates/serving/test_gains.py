"""`no gain on this server, because ...`: only where it is so, and for the right reason."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.gates.serving.verdicts import LADDER, one
from tfx_pipeline.gates.serving.gains import no_gain
from tfx_pipeline.gates.serving.measured import Measured

FLOAT = one("float")
CANDIDATES = {candidate.name: candidate for candidate in LADDER}


def said(
    name: str,
    size: float = 1.0,
    time: float = 1.0,
    *,
    core: bool = True,
    file: bool = True,
    gzip: float = 1.0,
) -> str:
    """What is said of a candidate with these ratios to the float model."""
    assert FLOAT.latency is not None
    assert FLOAT.served_bytes is not None
    assert FLOAT.gzip_bytes is not None
    found = one(
        name,
        served_bytes=round(size * FLOAT.served_bytes),
        gzip_bytes=round(gzip * FLOAT.gzip_bytes),
        latency=replace(FLOAT.latency, p50_ratio=time),
        runs_core=core,
    )
    return no_gain(replace(CANDIDATES[name], has_core=file), found, FLOAT)


def test_nothing_is_said_of_a_gain() -> None:
    assert said("int8", 0.3, 0.8) == ""
    assert said("distill", 0.9, 0.9, core=False, file=False) == ""


@pytest.mark.parametrize(
    ("size", "time", "words"),
    [
        (1.0, 1.0, "no gain on this server, because"),
        (1.0, 0.8, "not smaller on this server, because"),
        (0.5, 1.0, "not faster on this server, because"),
        (0.99, 0.96, "no gain on this server, because"),
    ],
)
def test_what_is_lacking_is_named(size: float, time: float, words: str) -> None:
    assert said("prune_80", size, time).startswith(words)


def test_a_sparse_core_computes_with_its_zeros() -> None:
    assert said("prune_80", gzip=0.35) == (
        "no gain on this server, because its core stores and multiplies its weights as floats, "
        "be they zero or alike (gzipped it is 0.35 of float)"
    )
    assert "gzipped" not in said("prune_80", 0.5, 1.0, gzip=0.35)  # It is smaller as it is.
    assert "stores" not in said("prune_80", 0.5, 1.0)
    assert "multiplies" not in said("prune_80", 1.0, 0.5)


def test_a_server_without_litert_leaves_the_core_aside() -> None:
    assert "leaves the TFLite core aside" in said("int8", core=False)
    assert "a SavedModel stores and multiplies" in said("int8", core=False, file=False)


def test_an_int8_core_is_not_blamed_for_floats() -> None:
    small = said("int8", 0.3, 1.0)
    assert small.endswith("the model is a small part of a request beside parsing and features")
    assert "floats" not in said("int8", 1.1, 1.0)


def test_a_student_is_not_blamed_for_zeros() -> None:
    for core in (True, False):
        words = said("distill", 1.0, 1.0, core=core, file=core)
        assert "the student has as many weights" in words
        assert "zero" not in words


def test_what_is_not_known_is_not_said_to_be_lacking() -> None:
    unknown = one("int8", served_bytes=None, latency=None)
    assert no_gain(CANDIDATES["int8"], unknown, FLOAT) == ""
    latency = one("int8").latency
    assert latency is not None
    nan = one("int8", latency=replace(latency, p50_ratio=math.nan))
    assert no_gain(CANDIDATES["int8"], nan, FLOAT) == ""


@pytest.mark.parametrize("parent", [None, Measured("float", failed="it does not load")])
def test_without_a_parent_nothing_is_compared(parent: Measured | None) -> None:
    assert no_gain(CANDIDATES["prune_80"], one("prune_80"), parent) == ""


def test_the_float_model_and_what_failed_say_nothing() -> None:
    assert no_gain(CANDIDATES["float"], FLOAT, FLOAT) == ""
    failed = Measured("int8", failed="it does not load")
    assert no_gain(CANDIDATES["int8"], failed, FLOAT) == ""
