"""Tables of benchmarks/compression.py, made of what a run's verdict says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from data_sets import Asked

from tfx_pipeline.gates.serving.choose import loss
from tfx_pipeline.gates.serving.judged import Judged
from tfx_pipeline.gates.serving.measured import OVERALL
from tfx_pipeline.gates.serving.verdict import ServingVerdict
from trainer.compression.config import FLOAT

# https://www.tensorflow.org/model_optimization/guide: top-1 accuracy on ImageNet in percent.
PUBLISHED = [
    ("InceptionV3, pruned to 50 %", 78.1, 78.0),
    ("MobileNetV1, quantization-aware training", 71.03, 71.06),
]

COLUMNS = (
    ("candidate", 18),
    ("quality", 8),
    ("change (95 % interval)", 26),
    ("params", 7),
    ("core", 6),
    ("gzip", 6),
    ("served", 7),
    ("p50", 6),
    ("x32", 6),
    ("zeros", 6),
    ("values", 7),
)


def figures(row: Judged, parent: Judged, metric: str) -> dict[str, float]:
    """What a candidate reached, by the names that `Asked` uses; NaN where it was not measured."""
    mine, theirs = row.measured, parent.measured
    if mine is None or theirs is None or mine.failed:
        return {}
    latency = mine.latency
    return {
        f"{metric} lost": loss(mine, metric) - loss(theirs, metric),
        "parameters / float": _effect(row, parent, "parameters"),
        "core bytes / float": _effect(row, parent, "core_bytes"),
        "core gzip / float": _effect(row, parent, "core_gzip_bytes"),
        "served bytes / float": (mine.served_bytes or math.nan) / (theirs.served_bytes or math.nan),
        "p50 / float": latency.p50_ratio if latency else math.nan,
        "batch of 32 / float": (latency and latency.batch_ratio) or math.nan,
    }


def table(verdict: ServingVerdict) -> Iterator[str]:
    """A line a candidate; sizes and times as ratios to the float model's core."""
    yield " ".join(f"{name:>{width}}" for name, width in COLUMNS)
    parent = _row(verdict, FLOAT)
    for row in verdict.rows:
        name = row.candidate.name
        if row.measured is None or row.measured.failed:
            yield f"{name:>18} {'; '.join(row.reasons)}"
            continue
        got = figures(row, parent, verdict.metric)
        change = row.measured.to_float.get(OVERALL, {}).get(verdict.metric)
        effects = row.candidate.effects
        cells = (
            name,
            f"{row.measured.quality[OVERALL][verdict.metric].value:.4f}",
            f"{change.value:+.4f} ({change.low:+.4f} {change.high:+.4f})" if change else "",
            _ratio(got["parameters / float"]),
            _ratio(got["core bytes / float"]),
            _ratio(got["core gzip / float"]),
            _ratio(got["served bytes / float"]),
            _ratio(got["p50 / float"]),
            _ratio(got["batch of 32 / float"]),
            f"{effects.get('sparsity', math.nan):.2f}",
            f"{effects.get('distinct_values', math.nan):.0f}",
        )
        yield " ".join(f"{c:>{width}}" for c, (_, width) in zip(cells, COLUMNS, strict=True))


def reached(verdict: ServingVerdict, asked: Sequence[Asked]) -> Iterator[str]:
    """Each figure that was asked for, beside the one reached."""
    parent = _row(verdict, FLOAT)
    for each in asked:
        row = _row(verdict, each.candidate)
        value = figures(row, parent, verdict.metric).get(each.what, math.nan)
        word = "reached" if value <= each.at_most else "MISSED "
        yield f"  {word} {each.candidate}: {each.what} {value:.4f} (asked at most {each.at_most:g})"


def published() -> Iterator[str]:
    """TF-MOT's own results for the same methods, which this benchmark does not repeat."""
    yield "TF-MOT's published results (ImageNet top-1 in percent; not measured here):"
    for name, before, after in PUBLISHED:
        yield f"  {name:<42} {before:.2f} -> {after:.2f}"


def _row(verdict: ServingVerdict, name: str) -> Judged:
    [row] = [row for row in verdict.rows if row.candidate.name == name]
    return row


def _effect(row: Judged, parent: Judged, name: str) -> float:
    mine, theirs = row.candidate.effects.get(name), parent.candidate.effects.get(name)
    return mine / theirs if mine and theirs else math.nan


def _ratio(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
