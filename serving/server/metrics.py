"""What the server counts and times, under TensorFlow Serving's names, as Prometheus text.

Names, labels and buckets of servables/tensorflow/util.cc and util/prometheus_exporter.cc. Our own
writer, as the names must be exact: prometheus-client ends a counter's name in `_total`.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

_BUCKETS_US = [10.0 * 1.8**power for power in range(33)]


@dataclass(slots=True)
class _Timing:
    counts: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS_US) + 1))
    sum_us: float = 0.0

    def add(self, us: float) -> None:
        self.counts[bisect_left(_BUCKETS_US, us)] += 1
        self.sum_us += us


@dataclass(frozen=True, eq=False)  # equal is who is the same: it is looked up for each request
class _Family:
    name: str
    kind: str
    labels: tuple[str, ...]


_REQUESTS = _Family(":tensorflow:serving:request_count", "counter", ("model_name", "status"))
_LATENCY = _Family(
    ":tensorflow:serving:request_latency", "histogram", ("model_name", "API", "entrypoint")
)
_RUNTIME = _Family(
    ":tensorflow:serving:runtime_latency", "histogram", ("model_name", "API", "runtime")
)
_LOADS = _Family(
    ":tensorflow:cc:saved_model:load_attempt_count", "counter", ("model_path", "status")
)
_LOAD_LATENCY = _Family(":tensorflow:cc:saved_model:load_latency", "counter", ("model_path",))
_WARM_UP = _Family(
    ":tensorflow:serving:model_warmup_latency", "histogram", ("model_path", "status")
)
_QUEUING = _Family(
    ":tensorflow:serving:batching_session:queuing_latency", "histogram", ("thread_pool_name",)
)
_BATCH_SIZE = _Family(
    ":tensorflow:serving:batching_session:processed_batch_size", "counter", ("model_name", "size")
)
_LOG_DROPPED = _Family(":assay:serving:request_log_dropped_count", "counter", ("model_name",))


class Metrics:
    """Counters and histograms. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[_Family, dict[tuple[str, ...], float]] = defaultdict(dict)
        self._timings: dict[_Family, dict[tuple[str, ...], _Timing]] = defaultdict(dict)

    def request(
        self, model_name: str, status: str, api: str, entrypoint: str, latency_us: float
    ) -> None:
        """Counts an answered request.

        Args:
            model_name: The model it asked for.
            status: The canonical code's name; `OK`.
            api: `Predict`, `Classify`, `Regress` or `MultiInference`.
            entrypoint: `GRPC` or `REST`.
            latency_us: From its arrival to its answer, in microseconds.
        """
        with self._lock:
            self._count(_REQUESTS, (model_name, status), 1)
            if status == "OK":
                self._timing(_LATENCY, (model_name, api, entrypoint)).add(latency_us)

    def runtime(self, model_name: str, api: str, latency_us: float) -> None:
        """Times one run of a model's graph, in microseconds."""
        with self._lock:
            self._timing(_RUNTIME, (model_name, api, "TF1")).add(latency_us)

    def load(self, model_path: str, status: str, latency_us: float) -> None:
        """Counts a load of a version; `status` is `success` or `fail`."""
        with self._lock:
            self._count(_LOADS, (model_path, status), 1)
            self._count(_LOAD_LATENCY, (model_path,), latency_us)

    def warm_up(self, model_path: str, status: str, latency_us: float) -> None:
        """Times a replay of warm-up requests; `status` is a canonical code's name."""
        with self._lock:
            self._timing(_WARM_UP, (model_path, status)).add(latency_us)

    def batch(self, model_name: str, pool: str, size: int, queued_us: Sequence[float]) -> None:
        """Counts a batch that was run: its rows, and how long each request had waited for it."""
        with self._lock:
            self._count(_BATCH_SIZE, (model_name, str(size)), 1)
            queuing = self._timing(_QUEUING, (pool,))
            for waited in queued_us:
                queuing.add(waited)

    def log_dropped(self, model_name: str, count: int) -> None:
        """Counts requests that could not be logged."""
        with self._lock:
            self._count(_LOG_DROPPED, (model_name,), count)

    def text(self) -> bytes:
        """All of them in Prometheus' text format 0.0.4."""
        lines: list[str] = []
        with self._lock:
            for family, counters in self._counters.items():
                lines.append(f"# TYPE {family.name} {family.kind}")
                for values, count in counters.items():
                    lines.append(f"{family.name}{_labels(family, values)} {_number(count)}")
            for family, timings in self._timings.items():
                lines.append(f"# TYPE {family.name} {family.kind}")
                for values, timing in timings.items():
                    lines += _histogram(family, values, timing)
        return "".join(f"{line}\n" for line in lines).encode()

    def _count(self, family: _Family, values: tuple[str, ...], by: float) -> None:
        counters = self._counters[family]
        counters[values] = counters.get(values, 0) + by

    def _timing(self, family: _Family, values: tuple[str, ...]) -> _Timing:
        timing = self._timings[family].get(values)
        if timing is None:
            timing = self._timings[family][values] = _Timing()
        return timing


def _histogram(family: _Family, values: tuple[str, ...], timing: _Timing) -> Iterable[str]:
    bounds = [*(f"{bound:g}" for bound in _BUCKETS_US), "+Inf"]
    totals = list(accumulate(timing.counts))
    for bound, total in zip(bounds, totals, strict=True):
        yield f"{family.name}_bucket{_labels(family, values, bound)} {total}"
    yield f"{family.name}_sum{_labels(family, values)} {_number(timing.sum_us)}"
    yield f"{family.name}_count{_labels(family, values)} {totals[-1]}"


def _labels(family: _Family, values: tuple[str, ...], bound: str = "") -> str:
    pairs = [*zip(family.labels, values, strict=True), *([("le", bound)] if bound else [])]
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
