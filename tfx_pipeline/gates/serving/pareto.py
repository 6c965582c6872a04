"""The Pareto plot of a verdict as a PNG: quality against size, and against latency."""

from __future__ import annotations

import io
import logging
import math
import os
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_pipeline.gates.metrics import METRICS
from tfx_pipeline.gates.serving import figures
from tfx_pipeline.gates.serving.bounds import quality_bound, size_bound
from tfx_pipeline.gates.serving.front import Cost, Point, front_of, points
from tfx_pipeline.gates.serving.labels import Line, place
from tfx_pipeline.gates.serving.verdict import ServingVerdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people tell apart; and a shape for each, for print.
_MARKS: dict[str, dict[str, Any]] = {
    "ships": {"marker": "o", "s": 110, "color": "#009E73", "edgecolor": "black", "linewidth": 1.2},
    "passes": {"marker": "o", "s": 42, "color": "#0072B2", "edgecolor": "white", "linewidth": 0.6},
    "refused": {"marker": "X", "s": 52, "color": "#D55E00", "edgecolor": "white", "linewidth": 0.6},
    "champion": {
        "marker": "D",
        "s": 38,
        "color": "#8C8C8C",
        "edgecolor": "white",
        "linewidth": 0.6,
    },
}
_WORDS = {"champion": "in production"}
_INK, _PALE, _SHADE = "#333333", "#BBBBBB", "#F3EDE6"
_FRONT, _BUDGET = "Pareto front", "beyond a budget"
_BAR, _LONE_BAR = "95 % interval of the difference to float", "95 % interval"
_WIDTH_INCHES, _HEIGHT_INCHES, _TALL_INCHES, _MANY = 11.0, 4.6, 6.4, 9
_DPI = 150
_MARGIN = 0.12


def write_pareto(verdict: ServingVerdict, path: Path) -> None:
    """Draws the plot.

    Args:
        verdict: Models of which quality or cost is not known are left out.
        path: The PNG to write.
    """
    _quiet()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The object API: pyplot would keep the figure, and choose a backend for the whole process.
    sizes, times = points(verdict, "size"), points(verdict, "latency")
    height = _HEIGHT_INCHES if len(sizes) <= _MANY else _TALL_INCHES
    figure = Figure(
        figsize=(_WIDTH_INCHES, height), dpi=_DPI, layout="constrained", facecolor="white"
    )
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, sizes, verdict, "size")
    _panel(right, times, verdict, "latency")
    right.tick_params(axis="y", length=0)
    left.set_ylabel(f"{verdict.metric} ({_better(verdict.metric)})", color=_INK)
    word = "blessed" if verdict.blessed else "refused"
    title = f"{word}: {verdict.reason}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=_INK, parse_math=False)
    _legend(figure, (left, right))
    canvas.draw()  # Only now is it known how large texts are.
    figure.set_layout_engine("none")
    for axes, found, edge in ((left, sizes, size_bound(verdict)), (right, times, 1.0)):
        upright = [] if edge is None else [((edge, y), (edge, z)) for y, z in [axes.get_ylim()]]
        place(axes, found, [*_bars(found), *_stairs(found), *upright])
    content = io.BytesIO()
    canvas.print_png(content)
    path.write_bytes(content.getvalue())


def _legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """One entry for everything that is in a panel, in the order of `_MARKS`."""
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    order = [*(_WORDS.get(kind, kind) for kind in _MARKS), _FRONT, _BAR, _LONE_BAR, _BUDGET]
    labels = sorted(entries, key=order.index)
    if labels:
        figure.legend(
            [entries[label] for label in labels],
            labels,
            loc="outside lower center",
            ncols=len(labels),
            frameon=False,
            fontsize=8.5,
            handletextpad=0.4,
            columnspacing=1.4,
        )


def _quiet() -> None:
    """Keeps matplotlib's cache out of HOME, and what it says of it off the terminal."""
    os.environ.setdefault("MPLCONFIGDIR", os.path.join(sys.prefix, "var", "matplotlib"))
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def _panel(axes: Axes, found: list[Point], verdict: ServingVerdict, cost: Cost) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_PALE)
    axes.tick_params(colors=_INK, labelsize=8.5)
    axes.grid(color="#EEEEEE", linewidth=0.7)
    axes.set_axisbelow(True)
    title = (
        "bytes that the server reads (log)"
        if cost == "size"
        else "p50 of one-row requests, as a share of float's"
    )
    axes.set_xlabel(title, color=_INK)
    if not found:
        message = "no candidate was measured"
        axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", color=_INK)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    bar = _BAR if len(found) > 1 else _LONE_BAR
    for start, end in _bars(found):
        axes.plot(*zip(start, end, strict=True), color=_PALE, linewidth=1.4, zorder=2, label=bar)
    for point in found:
        axes.scatter(
            [point.cost],
            [point.quality],
            zorder=4,
            label=_WORDS.get(point.kind, point.kind),
            **_MARKS[point.kind],
        )
    for start, end in _stairs(found):
        axes.plot(*zip(start, end, strict=True), color=_INK, linewidth=1.0, zorder=3, label=_FRONT)
    _limits(axes, found, cost)
    _budgets(axes, verdict, cost)


def _bars(found: list[Point]) -> list[Line]:
    return [((p.cost, p.low), (p.cost, p.high)) for p in found if p.low < p.high < math.inf]


def _stairs(found: list[Point]) -> list[Line]:
    """The front: what lies beyond it costs more and is no better."""
    names = front_of(found)
    corners = sorted({(p.cost, p.quality) for p in found if p.name in names})
    lines: list[Line] = []
    for (x, y), (next_x, next_y) in pairwise(corners):
        lines += [((x, y), (next_x, y)), ((next_x, y), (next_x, next_y))]
    return lines


def _limits(axes: Axes, found: list[Point], cost: Cost) -> None:
    costs = [point.cost for point in found]
    low, high = min(costs), max(costs)
    if cost == "size":
        room = max(math.log(high / low) * _MARGIN * 1.5, 0.1)
        axes.set_xscale("log")
        axes.set_xlim(low * math.exp(-room), high * math.exp(room))
        _byte_ticks(axes)
    else:
        low, high = min(low, 1.0), max(high, 1.0)
        room = max((high - low) * _MARGIN * 1.5, 0.02)
        axes.set_xlim(low - room, high + room)
        axes.axvline(1.0, color=_PALE, linewidth=0.8, zorder=1)


def _byte_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axes.get_xlim()
    every = (1, 1.5, 2, 3, 5, 7) if high / low < 4 else (1, 2, 5) if high / low < 100 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=every))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: figures.size(value)))


def _budgets(axes: Axes, verdict: ServingVerdict, cost: Cost) -> None:
    """Shades what a budget refuses, where that is in sight."""
    bottom, top = axes.get_ylim()
    left, right = axes.get_xlim()
    style: dict[str, Any] = {"color": _SHADE, "zorder": 0, "linewidth": 0}
    edge: dict[str, Any] = {"color": "#B08D57", "linewidth": 1.0, "linestyle": "--", "zorder": 1}
    bound = quality_bound(verdict)
    if bound is not None and bottom < bound < top:
        higher = METRICS[verdict.metric].better == "higher"
        axes.axhspan(bottom if higher else bound, bound if higher else top, **style)
        axes.axhline(bound, label=_BUDGET, **edge)
    bound = size_bound(verdict) if cost == "size" else None
    if bound is not None and left < bound < right:
        axes.axvspan(bound, right, **style)
        axes.axvline(bound, **edge)
    axes.set_ylim(bottom, top)
    axes.set_xlim(left, right)


def _better(metric: str) -> str:
    return {"higher": "higher is better", "lower": "lower is better"}.get(
        METRICS[metric].better, "1 is best"
    )
