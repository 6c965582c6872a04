"""A Pareto plot in plain characters: quality against a cost, one letter a candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from tfx_pipeline.gates.serving import figures
from tfx_pipeline.gates.serving.front import Cost, Point, front_of, points
from tfx_pipeline.gates.serving.verdict import ServingVerdict

_STYLES = {"ships": "bold green", "passes": "green", "refused": "red", "champion": "dim"}
_LEAST_WIDTH = 30
_WIDEST = 56
_SIDE_BY_SIDE = 76
_GAP = 3
_HEIGHT = 9


@dataclass(frozen=True)
class _Axis:
    """A figure's range, in the scale that it is drawn in."""

    low: float
    high: float
    is_log: bool = False

    def place(self, value: float, cells: int) -> int:
        """The cell of a value, from 0 to `cells` - 1."""
        scaled = math.log(value) if self.is_log else value
        low, high = (math.log(x) if self.is_log else x for x in (self.low, self.high))
        if high <= low:
            return cells // 2
        return round((scaled - low) / (high - low) * (cells - 1))


def scatter(verdict: ServingVerdict, letters: Mapping[str, str], width: int) -> list[Text]:
    """Quality against size and against latency, beside or below each other.

    Args:
        verdict: What to show; fewer than two candidates that were measured make no plot.
        letters: See `table.keys`.
        width: Of the terminal, in cells.
    """
    beside = width >= _SIDE_BY_SIDE
    each = min(_WIDEST, (width - _GAP) // 2 if beside else width)
    costs: tuple[Cost, Cost] = ("size", "latency")
    plots = [
        _plot(found, verdict.metric, cost, letters, each)
        for cost in costs
        if len(found := points(verdict, cost)) > 1 and each >= _LEAST_WIDTH
    ]
    if not plots:
        return []
    if beside and len(plots) == 2:
        lines = [_joined(left, right, each + _GAP) for left, right in zip(*plots, strict=True)]
    else:
        lines = [line for plot in plots for line in plot]
    note = "capitals: on the Pareto front of what passes"
    if verdict.winner:
        note += f"; [{letters[verdict.winner].upper()}] ships"
    return [*lines, Text(note, style="dim")]


def _plot(
    found: Sequence[Point], metric: str, cost: Cost, letters: Mapping[str, str], width: int
) -> list[Text]:
    on_front = front_of(found)
    labels = [figures.metric(value) for value in _ends([(p.loss, p.quality) for p in found])]
    margin = max(len(label) for label in labels) + 1
    inside = width - margin - 1
    x_axis = _Axis(min(p.cost for p in found), max(p.cost for p in found), cost == "size")
    y_axis = _Axis(min(p.loss for p in found), max(p.loss for p in found))
    cells: dict[tuple[int, int], tuple[str, str]] = {}
    # What ships is drawn first and stands where it belongs; the others give way.
    order = sorted(found, key=lambda p: (p.kind != "ships", p.name not in on_front))
    for point in order:
        letter = letters[point.name]
        word = letter.upper() if point.name in on_front else letter
        word = f"[{word}]" if point.kind == "ships" else word
        column = x_axis.place(point.cost, inside - 2) + 1
        at = _free(cells, y_axis.place(point.loss, _HEIGHT), column, len(word), inside)
        for offset, character in enumerate(word):
            cells[at[0], at[1] + offset] = character, _STYLES[point.kind]
    lines = [Text(metric.rjust(margin - 1), style="dim")]
    for row in range(_HEIGHT):
        label = labels[0] if row == 0 else labels[1] if row == _HEIGHT - 1 else ""
        line = Text(f"{label.rjust(margin - 1)} |", style="dim")
        for column in range(inside):
            line.append(*cells.get((row, column), (" ", "")))
        lines.append(line)
    lines.append(Text(" " * margin + "+" + "-" * inside, style="dim"))
    lines.append(Text(" " * (margin + 1) + _legend(x_axis, cost, inside), style="dim"))
    return lines


def _ends(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The best and the worst quality."""
    return min(pairs)[1], max(pairs)[1]


def _free(
    cells: Mapping[tuple[int, int], object], row: int, column: int, length: int, inside: int
) -> tuple[int, int]:
    """The nearest place where a word fits: beside is nearer than above."""
    middle = column - length // 2
    places = [(r, c) for r in range(_HEIGHT) for c in range(inside - length + 1)]
    places.sort(key=lambda place: 3 * abs(place[0] - row) + abs(place[1] - middle))
    for r, c in places:
        if not any((r, c + offset) in cells for offset in range(length)):
            return r, c
    return row, 0


def _legend(axis: _Axis, cost: Cost, inside: int) -> str:
    if cost == "size":
        ends, title = (figures.size(axis.low), figures.size(axis.high)), "served (log)"
    else:
        ends, title = (figures.ratio(axis.low), figures.ratio(axis.high)), "p50 / float's"
    room = inside - len(ends[0]) - len(ends[1])
    return ends[0] + (title.center(room) if room > len(title) + 1 else " " * room) + ends[1]


def _joined(left: Text, right: Text, at: int) -> Text:
    line = left.copy()
    line.append(" " * (at - line.cell_len))
    line.append_text(right)
    return line
