"""The serving gate's verdict on the terminal: about one screen, readable at 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from tfx_pipeline.gates.serving import figures
from tfx_pipeline.gates.serving.flips import Flip
from tfx_pipeline.gates.serving.measured import OVERALL
from tfx_pipeline.gates.serving.scatter import scatter
from tfx_pipeline.gates.serving.table import keys, table
from tfx_pipeline.gates.serving.verdict import ServingVerdict
from tfx_pipeline.gates.verdict import FILE_NAME, Check

# Lines of each part; verdict.json has all of it.
_BUDGETS_AT_MOST = 6
_NO_GAINS_AT_MOST = 4
_NOTES_AT_MOST = 3
_NAMES_AT_MOST = 5
_PLOT_WIDTH = 120
# What stands for a flip: its row and, where that has several answers, which one.
_SHOWN = {"multilabel": "row[class]", "quantile": "row[quantile]"}


def render(verdict: ServingVerdict) -> RenderableType:
    """The decision, every candidate's row, what refused which, what flipped, and the Pareto plots.

    Args:
        verdict: What to show.

    Returns:
        A rich renderable. What is left out is counted.
    """
    return _Screen(verdict)


@dataclass(frozen=True)
class _Screen:
    verdict: ServingVerdict

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        verdict, width = self.verdict, options.max_width
        word, style = ("blessed", "bold green") if verdict.blessed else ("refused", "bold red")
        yield Text.assemble(f"{verdict.gate} gate: ", (word, style), f". {verdict.reason}")
        yield from table(verdict, width)
        reasons = [*_budgets(verdict), *_no_gains(verdict), *_notes(verdict)]
        plots = scatter(verdict, keys(verdict), min(width, _PLOT_WIDTH))
        for part in (reasons, _flips(verdict, width), plots):
            if part:
                yield Text()
            for line in part:
                yield from _hanging(line, console, width)


def _budgets(verdict: ServingVerdict) -> Iterator[Text]:
    """Which budget refused which candidate, and by how much."""
    refused: dict[str, list[str]] = {}
    for row in verdict.rows:
        for check in row.checks:
            if not check.passed:
                where = "" if check.slice == OVERALL else f" on {check.slice}"
                budget = f"{check.what} {check.threshold}{where}"
                refused.setdefault(budget, []).append(f"{row.candidate.name} {_by(check)}")
    lines = [
        Text.assemble((budget, "red"), f" refuses {_listed(names)}")
        for budget, names in refused.items()
    ]
    yield from _section(lines, _BUDGETS_AT_MOST, "budgets that refuse")


def _by(check: Check) -> str:
    """How far outside its bound a check is, in the unit that its threshold has."""
    if check.margin is None or check.margin >= 0:
        return "(not known)" if check.margin is None else "(a feature differs)"
    over = -check.margin
    for unit in ("ms", "MB"):
        if check.threshold.endswith(f" {unit}"):
            return f"by {over:.3g} {unit}"
    return f"by {figures.size(over)}" if check.threshold.endswith(" bytes") else f"by {over:.2g}"


def _no_gains(verdict: ServingVerdict) -> Iterator[Text]:
    """One line a reason. What it is gzipped stands in the table."""
    why: dict[str, list[str]] = {}
    for row in verdict.rows:
        if row.no_gain:
            why.setdefault(row.no_gain.split(" (gzipped")[0], []).append(row.candidate.name)
    lines = [Text(f"{_listed(names)}: {reason}") for reason, names in why.items()]
    yield from _section(lines, _NO_GAINS_AT_MOST, "reasons why there is no gain")


def _notes(verdict: ServingVerdict) -> Iterator[Text]:
    lines = [
        Text(f"{row.candidate.name}: {note}", style="dim")
        for row in verdict.rows
        for note in row.candidate.notes
    ]
    yield from _section(lines, _NOTES_AT_MOST, "notes")


def _flips(verdict: ServingVerdict, width: int) -> list[Text]:
    """The rows that what ships answers differently from the float model."""
    shown = verdict.shown
    if shown is None:
        return []
    found, name = shown.flips, shown.candidate.name
    is_value = verdict.task in ("regression", "quantile")
    how = "move by over 1 % of the spread" if is_value else "change class"
    head = f"{found.count:,} of {found.rows:,} rows {how} from float to {name}"
    if not found.top:
        return [Text(head)]
    rest = f", the largest {len(found.top)}" if found.count > len(found.top) else ""
    lines = [Text(f"{head}{rest} ({_SHOWN.get(verdict.task, 'row')}: before > after, truth)")]
    cells = [_flip(flip, verdict.task) for flip in found.top]
    longest = max(len(cell) for cell in cells)
    across = max(1, (min(width, _PLOT_WIDTH) + 1) // (longest + 3))
    for start in range(0, len(cells), across):
        line = "   ".join(cell.ljust(longest) for cell in cells[start : start + across])
        lines.append(Text(f"  {line.rstrip()}", style="dim"))
    return lines


def _flip(flip: Flip, task: str) -> str:
    def shown(value: float, is_class: bool) -> str:
        if value != value:
            return "NaN"
        if is_class:
            return f"{value:.0f}"
        return f"{value:.3f}" if task in ("binary", "multilabel") else f"{value:.4g}"

    before, after = (shown(value, task == "multiclass") for value in (flip.before, flip.after))
    is_value = task in ("regression", "quantile")
    truth = "" if flip.label is None else f", {shown(flip.label, not is_value)}"
    output = "" if flip.output is None else f"[{flip.output}]"
    return f"{flip.row}{output}: {before} > {after}{truth}"


def _hanging(line: Text, console: Console, width: int) -> Iterator[Text]:
    """A line, wrapped so that its continuations are indented."""
    if line.cell_len <= width:
        yield line
        return
    first, *rest = line.wrap(console, max(1, width - 2))
    yield first
    for one in rest:
        yield Text.assemble("  ", one)


def _section(lines: list[Text], at_most: int, what: str) -> Iterator[Text]:
    """The first lines, and how many more there are."""
    kept = lines if len(lines) <= at_most else lines[: at_most - 1]
    yield from kept
    if len(lines) > len(kept):
        left_out = len(lines) - len(kept)
        yield Text(f"and {left_out} more {what}; {FILE_NAME} has them all", style="dim")


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMES_AT_MOST
    return ", ".join(names[:_NAMES_AT_MOST]) + (f" and {more} more" if more > 0 else "")
