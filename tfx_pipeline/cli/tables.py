"""Tables that never cut what is copied from them: run ids, paths."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table

# Wider than any table: without a terminal nothing has to be fitted into a screen.
_UNLIMITED = 100_000
_GAP = 2
# A longer word than this, a path for instance, may be folded where a column is not whole.
_FOLDED_FROM = 20


def output_console() -> Console:
    """A console on standard output; in a pipe or a file its lines are as long as they are."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_UNLIMITED)


def table(*names: str, right: Iterable[str] = (), whole: Iterable[str] = ()) -> Table:
    """A table without lines.

    Args:
        names: The columns' heads.
        right: Columns that are set to the right.
        whole: Columns that stay whole; the others are folded where the terminal is narrow.
    """
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    for name in names:
        column_is_whole = name in whole
        made.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="ignore" if column_is_whole else "fold",
            no_wrap=column_is_whole,
        )
    return made


def show(console: Console, made: Table) -> None:
    """Prints a table. Where its whole columns do not fit into the terminal, it is wider, and the
    terminal wraps its lines."""
    needed = 0
    for column in made.columns:
        sizes = [_size(console, cell) for cell in (column.header, *column.cells)]
        if column.no_wrap:
            column.min_width = max(size.maximum for size in sizes)
            needed += column.min_width
        else:
            needed += min(_FOLDED_FROM, max(size.minimum for size in sizes))
    gaps = len(made.columns) - 1
    if needed + _GAP * gaps > console.width:
        made.padding = (0, 1, 0, 0)
    if needed + gaps > console.width:
        console = Console(file=console.file, width=needed + gaps, highlight=False)
    console.print(made, crop=False)


def _size(console: Console, cell: RenderableType) -> Measurement:
    """The lengths of a cell's longest word and longest line, on a terminal of any width."""
    return Measurement.get(console, console.options.update(max_width=_UNLIMITED), cell)


def fold_key(key: str, width: int) -> str:
    """A dotted key on several lines, broken behind its dots where it is longer than `width`."""
    lines = [""]
    for index, part in enumerate(key.split(".")):
        word = f".{part}" if index else part
        if lines[-1] and len(lines[-1]) + len(word) > width:
            lines.append("  ")
        lines[-1] += word
    return "\n".join(lines)
