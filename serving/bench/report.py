"""The figures of a bench, as a table with a histogram, or as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from serving.bench.load import Samples
from serving.bench.senders import OK

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_BINS = 16
_BAR_CELLS = 40
_BUSY_CORE = 0.85


@dataclass(frozen=True)
class Summary:
    """A bench's figures.

    Attributes:
        address: The endpoint.
        loop: `closed`, or `open` where a rate was given.
        connections: Requests under way at the same time, at most.
        batch_size: Rows a request.
        duration_s: Seconds measured.
        target_rate: Requests a second that were due; None for the closed loop.
        requests: Requests answered, well or not.
        requests_per_second: Requests that succeeded, a second.
        rows_per_second: Their rows.
        latency_ms: `p50`, `p90`, `p99`, `p99.9`, `max` and `mean` of those that succeeded.
        errors: Failure's code to number.
        late: Requests due that could not be sent before the end (open loop).
        generator_cpu: The part of one core that the load generator used.
    """

    address: str
    loop: str
    connections: int
    batch_size: int
    duration_s: float
    target_rate: float | None
    requests: int
    requests_per_second: float
    rows_per_second: float
    latency_ms: dict[str, float]
    errors: dict[str, int]
    late: int
    generator_cpu: float


def summarize(
    samples: Samples, address: str, connections: int, batch_size: int, rate: float | None
) -> Summary:
    """The figures of what was measured."""
    succeeded = samples.codes[OK]
    per_second = succeeded / samples.elapsed_s
    return Summary(
        address=address,
        loop="closed" if rate is None else "open",
        connections=connections,
        batch_size=batch_size,
        duration_s=samples.elapsed_s,
        target_rate=rate,
        requests=sum(samples.codes.values()),
        requests_per_second=per_second,
        rows_per_second=per_second * batch_size,
        latency_ms=_latencies(samples.latencies_s),
        errors={code: count for code, count in samples.codes.most_common() if code != OK},
        late=samples.late,
        generator_cpu=samples.cpu_share,
    )


def as_dict(summary: Summary) -> dict[str, object]:
    """The figures as JSON has them."""
    return asdict(summary)


def show(summary: Summary, samples: Samples, console: Console) -> None:
    """Prints the figures, and the latencies as a histogram."""
    loop = (
        "closed loop"
        if summary.target_rate is None
        else f"open loop, {summary.target_rate:g} requests/s due"
    )
    console.print(
        f"{summary.address}  {loop}, {summary.connections} connections, "
        f"{summary.batch_size} row{'s' if summary.batch_size > 1 else ''} a request, "
        f"{summary.duration_s:.1f} s",
        style="dim",
        highlight=False,
    )
    console.print(
        f"[bold]{summary.requests_per_second:,.0f}[/] requests/s"
        + (f"   {summary.rows_per_second:,.0f} rows/s" if summary.batch_size > 1 else ""),
        highlight=False,
    )
    if summary.latency_ms:
        table = Table(box=None, header_style="dim", pad_edge=False)
        table.add_column("latency")
        for name in summary.latency_ms:
            table.add_column(name, justify="right")
        table.add_row("ms", *(f"{value:.3g}" for value in summary.latency_ms.values()))
        console.print(table)
        console.print(histogram(samples.latencies_s))
    _show_faults(summary, console)


def histogram(latencies_s: list[float]) -> Table:
    """Latencies in bins of equal ratio: bound in ms, bar, number, and the share up to there."""
    milliseconds = 1000 * np.asarray(latencies_s)
    low, high = max(float(milliseconds.min()), 1e-3), float(milliseconds.max())
    edges = np.geomspace(low, max(high, 1.001 * low), _BINS + 1)
    counts, _ = np.histogram(np.clip(milliseconds, edges[0], edges[-1]), edges)
    shares = np.cumsum(counts) / counts.sum()
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("up to ms", justify="right")
    table.add_column("", width=_BAR_CELLS)
    table.add_column("requests", justify="right")
    table.add_column("share", justify="right")
    for edge, count, share in zip(edges[1:], counts, shares, strict=True):
        bar = Text("█" * round(_BAR_CELLS * count / counts.max()) or ("▏" if count else ""))
        bar.stylize("red" if share > 0.99 else "yellow" if share > 0.9 else "green")
        table.add_row(f"{edge:.3g}", bar, f"{count:,}", f"{100 * share:.2f} %")
    return table


def _show_faults(summary: Summary, console: Console) -> None:
    for code, count in summary.errors.items():
        share = count / summary.requests
        console.print(f"[red]{count:,} failed[/] with {code} ({share:.2%})", highlight=False)
    if summary.late:
        console.print(
            f"[red]{summary.late:,} not sent:[/] the server could not keep the rate with "
            f"{summary.connections} connections. They count as answered when the bench ended.",
            highlight=False,
        )
    if summary.generator_cpu > _BUSY_CORE:
        console.print(
            f"[yellow]note:[/] the load generator used {summary.generator_cpu:.0%} of a core: "
            "the server may do better than this says. Run several, or send larger requests.",
            highlight=False,
        )


def _latencies(latencies_s: list[float]) -> dict[str, float]:
    if not latencies_s:
        return {}
    milliseconds = 1000 * np.asarray(latencies_s)
    values = np.percentile(milliseconds, PERCENTILES, method="higher")
    named = {f"p{p:g}": float(v) for p, v in zip(PERCENTILES, values, strict=True)}
    return {**named, "max": float(milliseconds.max()), "mean": float(milliseconds.mean())}
