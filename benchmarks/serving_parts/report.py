"""The tables of `serving.py`: what was measured, and beside it what is asked."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

Results = dict[str, list[dict[str, Any]]]
FRONTS = ("grpcio", "grpcio-batched", "h2", "h2-batched")
_WIDTH = 46


def report(results: Results, names: dict[str, str]) -> None:
    """Prints medians.

    Args:
        results: Measurement to its runs.
        names: A server's key to what the table calls it.
    """
    runs = max(map(len, results.values()), default=0)
    print(
        f"32-64-64-1 MLP, one row a request, 32 connections; tensorflow {version('tensorflow')}, "
        f"grpcio {version('grpcio')}, {os.cpu_count()} cores; medians of {runs}\n"
    )
    _servers(results, names)
    for key in ("threads", *FRONTS, "mlserver"):
        for one in results.get(key, []):
            for load in filter(None, one.values()):
                if load["failed"]:
                    print(f"{names[key]}: failed calls: {load['failed']}")
    print()
    _asked_of_rates(results)
    _asked_of_reloads(results)


def _servers(results: Results, names: dict[str, str]) -> None:
    if "limit" in results:
        one, many = (
            _median(results, "limit", "per_second"),
            _median(results, "limit", "rows_per_second"),
        )
        handled = _median(results, "limit", "handler_per_second")
        print(f"model called in one thread, no server: {one:>10,.0f} calls/s with 1 row")
        print(f"{'':<38} {many:>10,.0f} rows/s with 32 rows a call")
        print(f"{'Predict handler, bytes in, bytes out':<38} {handled:>10,.0f} calls/s\n")
    if not any(key in results for key in names):
        return
    print(
        f"{'':<31}{'calls/s':>9}{'p50 ms':>8}{'p99 ms':>8}{'half rate':>11}{'CPU µs':>8}"
        f"{'empty':>8}{'generator':>11}"
    )
    print(f"{'':<31}{'':>9}{'':>8}{'':>8}{'p99 ms':>11}{'a call':>8}{'CPU µs':>8}{'CPU':>11}")
    for key in (key for key in names if key in results):
        empty = _median(results, key, "empty", "server_us_a_call")
        print(
            f"{names[key]:<31}"
            f"{_median(results, key, 'top', 'per_second'):>9,.0f}"
            f"{_median(results, key, 'top', 'p50_ms'):>8.2f}"
            f"{_median(results, key, 'top', 'p99_ms'):>8.2f}"
            f"{_median(results, key, 'half', 'p99_ms'):>11.2f}"
            f"{_median(results, key, 'top', 'server_us_a_call'):>8.0f}"
            + (f"{'-':>8}" if empty is None else f"{empty:>8.0f}")
            + f"{_median(results, key, 'top', 'generator_cpu'):>10.0%}"
        )


def _asked_of_rates(results: Results) -> None:
    for key in FRONTS:
        if key not in results:
            continue
        if "threads" in results:
            ratio = _ratio(results, key, "threads", lambda run: run["top"]["per_second"])
            _line(f"{key}: times grpcio threads", f"{ratio:.1f}", "at least 10")
        if "limit" in results and key.endswith("batched"):
            share = statistics.median(
                a["top"]["per_second"] / b["per_second"]
                for a, b in zip(results[key], results["limit"], strict=True)
            )
            _line(f"{key}: share of the model in one thread", f"{share:.0%}", "at least 60 %")
        empty = _median(results, key, "empty", "server_us_a_call")
        most = 400 if key.startswith("grpcio") else 60
        _line(f"{key}: CPU of an empty call", f"{empty:.0f} µs", f"at most {most}")
        half = _median(results, key, "half", "p99_ms")
        _line(f"{key}: p99 at half of its top rate", f"{half:.2f} ms", "under 5")


def _asked_of_reloads(results: Results) -> None:
    for name in (name for name in results if name.startswith("reload ")):
        key = name.removeprefix("reload ")
        failed = sum(run["failed"] for run in results[name])
        ratio = statistics.median(run["during_ms"] / run["before_ms"] for run in results[name])
        before, during = (_median(results, name, of) for of in ("before_ms", "during_ms"))
        _line(f"{key}: swap under load, failed requests", f"{failed}", "0")
        _line(
            f"{key}: p99 during it / before",
            f"{ratio:.1f}",
            f"at most 2; {during:.1f} / {before:.1f} ms, the worst "
            f"{_median(results, name, 'worst_ms'):.0f} ms, a swap takes "
            f"{_median(results, name, 'swap_s'):.2f} s",
        )
    if "memory" in results:
        growth = statistics.median(r["last"] / r["settled"] - 1 for r in results["memory"])
        first, settled, last = (
            _median(results, "memory", name) for name in ("first", "settled", "last")
        )
        _line(
            "memory over the reloads of a 10 MB model",
            f"{growth:+.1%}",
            f"within 5 %; MB: first {first:.0f}, after 5 {settled:.0f}, at last {last:.0f}",
        )
    for name in (name for name in results if name.startswith("start ")):
        ratio = statistics.median(run["start_s"] / run["import_s"] for run in results[name])
        taken, imported = (_median(results, name, of) for of in ("start_s", "import_s"))
        _line(
            f"{name.removeprefix('start ')}: first answer / import tensorflow",
            f"{ratio:.2f}",
            f"at most 1.3; {taken:.2f} / {imported:.2f} s",
        )


def _line(what: str, found: str, asked: str) -> None:
    print(f"{what:<{_WIDTH}}{found:>9}   (asked: {asked})")


def _ratio(results: Results, a: str, b: str, of: Callable[[dict[str, Any]], float]) -> float:
    return statistics.median(of(x) / of(y) for x, y in zip(results[a], results[b], strict=True))


def _median(results: Results, name: str, *path: str) -> Any:
    """The median over a measurement's runs of the figure at a path; None where it has none."""
    found = []
    for value in results[name]:
        for step in path:
            value = None if value is None else value[step]  # type: ignore[assignment]
        found.append(value)
    return None if None in found else statistics.median(found)
