"""What the serving gate measures of a candidate; plain data, with None where it could not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tfx_pipeline.gates.verdict import OVERALL

__all__ = ["CHAMPION", "OVERALL", "BySlice", "Estimate", "Latency", "Measured", "Skew"]


CHAMPION = "champion"
"""What the model now in production is called among candidates."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its confidence interval (95 %, bootstrap over rows).

    Attributes:
        value: On all rows; NaN where it is not defined (one class only).
        low: Lower end.
        high: Upper end.
        rows: How many rows it is over.
    """

    value: float
    low: float
    high: float
    rows: int


BySlice: TypeAlias = dict[str, dict[str, Estimate]]
"""Slice (`overall`, `payment_type=Cash`), then metric, to its estimate."""


@dataclass(frozen=True)
class Latency:
    """How fast the server answers one-row requests with this candidate, over gRPC.

    Attributes:
        p50_ms: Median, in milliseconds, one request at a time.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
        p99_ratio: p99 over the float parent's, both measured in turn (A B A B), median of pairs.
        p50_ratio: The same of the median.
        rate: Highest requests a second whose p99 stays inside the budget; without one, at most
            so many as the server answered.
        batch_ms: Median of a request with 32 rows.
        batch_ratio: The same over the float parent's.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    p99_ratio: float
    p50_ratio: float
    rate: float | None = None
    batch_ms: float | None = None
    batch_ratio: float | None = None


@dataclass(frozen=True)
class Skew:
    """The same rows three ways: materialized features through the trainer's model, the SavedModel
    in this process, the server.

    Attributes:
        max_difference: Largest difference of predictions between any two ways, |a - b| /
            max(1, |a|, spread), the spread being the standard deviation of the float model's
            answers: absolute for probabilities, relative for a regression with large labels,
            which float32 cannot hold more exactly. Or that of a transformed feature (relative
            to it where it is over 1) where one differs by more than the tolerance. NaN where
            nothing could be compared, as `detail` says.
        tolerance: What was allowed.
        between: The two ways that differ most.
        row: The row where they do, counted in the held-out rows; None: they do not.
        feature: The first feature, in the model's order, whose transformed values differ at
            serving; empty: none does.
        detail: One sentence; empty where nothing differs.
    """

    max_difference: float
    tolerance: float
    between: tuple[str, str] = ("", "")
    row: int | None = None
    feature: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Measured:
    """A candidate as the server serves it.

    Attributes:
        name: The candidate's; `float` is the parent, `champion` the model now in production.
        failed: Why it could not be measured; empty: it was. The rest may then be None.
        quality: Metrics of its answers over gRPC.
        to_float: Difference of each metric to the float parent's, same rows (paired bootstrap).
        to_champion: The same to the champion; empty without one.
        latency: See `Latency`.
        load_seconds: From the request to load it until the server says AVAILABLE, cold.
        memory_mb: What the server's resident memory grew by from before the load to after the
            first requests, in 10^6 bytes.
        disk_bytes: All files of its folder.
        gzip_bytes: The same, each gzipped.
        served_bytes: What this server reads of it: the core where it runs one, else the variables.
        skew: See `Skew`.
        runs_core: Whether this server ran the TFLite core.
        predictions: Its answers, [N] or [N, outputs], in the order of the held-out rows; a
            verdict has none of them.
    """

    name: str
    failed: str = ""
    quality: BySlice = field(default_factory=dict)
    to_float: BySlice = field(default_factory=dict)
    to_champion: BySlice = field(default_factory=dict)
    latency: Latency | None = None
    load_seconds: float | None = None
    memory_mb: float | None = None
    disk_bytes: int | None = None
    gzip_bytes: int | None = None
    served_bytes: int | None = None
    skew: Skew | None = None
    runs_core: bool = False
    # Of 20,000 rows and 1,000 classes, 160 MB; as lists they would be four times as much. Two
    # arrays have no one truth value to compare by.
    predictions: npt.NDArray[np.float64] | Sequence[float] = field(
        default=(), repr=False, compare=False
    )
