"""The candidates of a verdict as lines of a table: as many columns as the terminal has room for."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from tfx_pipeline.gates.serving import figures
from tfx_pipeline.gates.serving.measured import CHAMPION, OVERALL, Estimate, Measured
from tfx_pipeline.gates.serving.verdict import ServingVerdict
from trainer.compression.config import FLOAT

_STYLES = {"ships": "bold green", "passes": "green", "in use": "dim"}
_REFUSED = "red"
_SHARES = ("size", "gzip", "p50", "p99")
_SHORTEST_NAME = 6


@dataclass(frozen=True)
class _Row:
    """One line: a candidate, or the champion."""

    key: str
    name: str
    word: str
    reason: str
    measured: Measured | None


@dataclass(frozen=True)
class _Column:
    """Cells under a head.

    Attributes:
        head: Over the cells.
        cells: One a row.
        leaves: Columns are left out by this number, the highest first; 0 always stays.
        is_left: Whether it is set to the left.
    """

    head: str
    cells: list[str]
    leaves: int = 0
    is_left: bool = False

    @property
    def width(self) -> int:
        return max(cell_len(cell) for cell in (self.head, *self.cells))


def keys(verdict: ServingVerdict) -> dict[str, str]:
    """Name of each candidate, and of the champion, to the letter that stands for it in the plot."""
    names = [row.candidate.name for row in verdict.rows]
    names += [CHAMPION] if verdict.champion is not None else []
    letters = [*ascii_lowercase, *("" for _ in names)]
    return dict(zip(names, letters, strict=False))


def table(verdict: ServingVerdict, width: int) -> list[Text]:
    """Head, one line a candidate (two where it is refused), and the champion's.

    Args:
        verdict: What to show.
        width: Of the terminal, in cells. Columns that do not fit are left out.
    """
    rows = _rows(verdict)
    if not rows:
        return []
    columns, gap = _fitted(_columns(rows, verdict), width)
    lines = [Text(_line([c.head for c in columns], columns, gap), style="dim")]
    for number, row in enumerate(rows):
        text = _line([column.cells[number] for column in columns], columns, gap)
        line = Text(text, style="dim" if row.name == CHAMPION else "")
        style = _STYLES.get(row.word, _REFUSED)
        if row.word == "ships":
            line.stylize(style)
        elif row.name != CHAMPION or row.word != "in use":
            line.stylize(style, len(text) - len(row.word))
        lines.append(line)
        if row.reason:
            wrapped = textwrap.wrap(row.reason, max(width - 4, 16))
            lines += [Text(f"    {part}", style=_REFUSED) for part in wrapped]
    shares = [column.head for column in columns if column.head in _SHARES]
    if shares:
        server = f"; served by {verdict.server}" if verdict.server else ""
        lines.append(Text(f"{', '.join(shares)}: shares of float's{server}", style="dim"))
    lines += [Text(line, style="dim") for line in _in_ms(verdict)]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _rows(verdict: ServingVerdict) -> list[_Row]:
    letters, rows = keys(verdict), []
    for row in verdict.rows:
        name, word = row.candidate.name, "refused"
        if row.passed:
            word = "ships" if name == verdict.winner else "passes"
        elif row.candidate.failed:
            word = "not made"
        elif row.measured is None or row.measured.failed:
            word = "failed"
        rows.append(_Row(letters[name], name, word, _first(row.reasons), row.measured))
    champion = verdict.champion
    if champion is not None:
        word = "failed" if champion.failed else "in use"
        rows.append(_Row(letters[CHAMPION], CHAMPION, word, champion.failed, champion))
    return rows


def _first(reasons: Sequence[str]) -> str:
    if not reasons:
        return ""
    more = f"({len(reasons) - 1} more) " if len(reasons) > 1 else ""
    return more + reasons[0].removeprefix("not made: ")


def _columns(rows: Sequence[_Row], verdict: ServingVerdict) -> list[_Column]:
    found = [row.measured or Measured(row.name, failed="-") for row in rows]
    parent = next((m for m in found if m.name == FLOAT), Measured(FLOAT, failed="-"))
    quality = [_estimate(m.quality, verdict.metric) for m in found]
    losses = [_estimate(m.to_float, verdict.metric) for m in found]
    latency = [m.latency for m in found]
    sizes = [figures.quotient(m.served_bytes, parent.served_bytes) for m in found]
    packed = [figures.quotient(m.gzip_bytes, parent.gzip_bytes) for m in found]
    columns = [
        _Column("", [row.key for row in rows]),
        _Column("candidate", [row.name for row in rows], is_left=True),
        _Column(verdict.metric, [figures.metric(q.value) for q in quality]),
        _Column("", [_around(q) for q in quality], 6, is_left=True),
        _Column("to float", [figures.difference(d.value) for d in losses], 3),
        _Column("served", [figures.size(m.served_bytes) for m in found], 7),
        _Column("size", [figures.ratio(value) for value in sizes], 1),
        _Column("gzip", [figures.ratio(value) for value in packed], 4),
        _Column("p50", [figures.ratio(None if x is None else x.p50_ratio) for x in latency], 2),
        _Column("p99", [figures.ratio(None if x is None else x.p99_ratio) for x in latency], 5),
        _Column("MB", ["-" if m.memory_mb is None else f"{m.memory_mb:.0f}" for m in found], 8),
        _Column("", [row.word for row in rows], is_left=True),
    ]
    failed = [number for number, m in enumerate(found) if m.failed]
    for column in columns[2:-1]:
        for number in failed:
            column.cells[number] = ""
    return [column for column in columns if any(cell not in ("", "-") for cell in column.cells)]


def _estimate(found: dict[str, dict[str, Estimate]], metric: str) -> Estimate:
    nothing = Estimate(math.nan, math.nan, math.nan, 0)
    return found.get(OVERALL, {}).get(metric, nothing)


def _around(estimate: Estimate) -> str:
    half = (estimate.high - estimate.low) / 2
    return f"±{figures.metric(half)}" if math.isfinite(half) else ""


def _fitted(columns: list[_Column], width: int) -> tuple[list[_Column], int]:
    """The columns for which there is room, and the gap between them."""

    def total(gap: int) -> int:
        return sum(column.width + gap for column in columns) - gap

    while total(1) > width and any(column.leaves for column in columns):
        first = max(columns, key=lambda column: column.leaves)
        columns = [column for column in columns if column is not first]
    over = total(1) - width
    if over > 0:
        names = columns[1]
        room = max(_SHORTEST_NAME, names.width - over)
        cells = [_shortened(name, room) for name in names.cells]
        columns = [columns[0], _Column(names.head[:room], cells, is_left=True), *columns[2:]]
    return columns, 2 if total(2) <= width else 1


def _shortened(name: str, room: int) -> str:
    text = Text(name)
    text.truncate(room, overflow="ellipsis")
    return text.plain


def _line(cells: list[str], columns: list[_Column], gap: int) -> str:
    parts = []
    for cell, column in zip(cells, columns, strict=True):
        padding = " " * (column.width - cell_len(cell))
        parts.append(set_cell_size(cell, column.width) if column.is_left else padding + cell)
    return (" " * gap).join(parts).rstrip()


def _in_ms(verdict: ServingVerdict) -> Iterator[str]:
    """What the shares of time are shares of."""
    for row in verdict.rows:
        latency = row.measured.latency if row.measured is not None else None
        if row.candidate.name == FLOAT and latency is not None:
            rate = f", {latency.rate:,.0f} requests/s" if latency.rate else ""
            batch = f", 32 rows {latency.batch_ms:.3g} ms" if latency.batch_ms else ""
            yield f"float: p50 {latency.p50_ms:.3g} ms, p99 {latency.p99_ms:.3g} ms{batch}{rate}"
