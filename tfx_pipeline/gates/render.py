"""A verdict as a small table for the terminal, readable at 80 columns."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tfx_pipeline.gates.verdict import OVERALL, Check, Verdict

# A verdict is one screen; verdict.json has all of it.
_SHOWN_AT_MOST = 12
_REASONS_AT_MOST = 4


def render(verdict: Verdict) -> RenderableType:
    """The decision, its checks (failures first, the worst of them first) and why they failed.

    Args:
        verdict: What to show.

    Returns:
        A rich renderable of about one screen. What is left out is counted.
    """
    word, style = ("blessed", "bold green") if verdict.blessed else ("refused", "bold red")
    head = Text.assemble(f"{verdict.gate} gate: ", (word, style), f". {verdict.reason}")
    failed, passed = _ordered(verdict)
    shown = [*failed, *passed][:_SHOWN_AT_MOST]
    parts: list[RenderableType] = [head]
    if shown:
        anomalies = verdict.gate == "data"
        parts.append(_anomaly_table(shown) if anomalies else _metric_table(shown))
    more = ", ".join(
        f"{count} more that {what}"
        for count, what in (
            (max(0, len(failed) - _SHOWN_AT_MOST), "failed"),
            (len(passed) - max(0, len(shown) - len(failed)), "passed"),
        )
        if count
    )
    if more:
        parts.append(Text(f"  and {more}; verdict.json has them all", style="dim"))
    parts += [Text(f"  {reason}", style="red") for reason in _reasons(failed)]
    return Group(*parts)


def _ordered(verdict: Verdict) -> tuple[list[Check], list[Check]]:
    """Failed and passed checks: overall before slices, then the tightest margin first."""

    def rank(check: Check) -> tuple[bool, bool, float]:
        return check.slice != OVERALL, check.margin is None, check.margin or 0.0

    passed = [check for check in verdict.checks if check.passed]
    return sorted(verdict.failed, key=rank), sorted(passed, key=rank)


def _reasons(failed: list[Check]) -> list[str]:
    """Why checks failed, where the table does not say it: one line a reason, not one a slice."""
    places: dict[str, list[str]] = {}
    for check in failed:
        if check.reason and check.margin is None:
            names = places.setdefault(f"{check.what}: {check.reason}", [])
            if check.slice not in names:
                names.append(check.slice)
    lines = []
    for reason, names in places.items():
        others = f" and {len(names) - 2} more" if len(names) > 2 else ""
        lines.append(f"{reason} ({', '.join(names[:2])}{others})")
    if len(lines) > _REASONS_AT_MOST:
        left_out = len(lines) - _REASONS_AT_MOST
        lines = [*lines[:_REASONS_AT_MOST], f"and {left_out} more reasons"]
    return lines


def _metric_table(checks: list[Check]) -> Table:
    table = _table("metric", "slice", "required", "measured", "margin", "baseline")
    for column in table.columns[3:]:
        column.justify = "right"
    for column in (*table.columns[3:], table.columns[1]):
        column.no_wrap = True  # The slice's name is what gives way at 80 columns.
    for check in checks:
        table.add_row(
            _mark(check),
            escape(check.what),
            escape(check.slice),
            escape(check.threshold),
            _number(check.measured),
            "" if check.margin is None else f"{check.margin:+.4g}",
            _number(check.baseline),
        )
    return table


def _anomaly_table(checks: list[Check]) -> Table:
    table = _table("column", "split", "severity", "expected", "found")
    for check in checks:
        table.add_row(
            _mark(check),
            escape(check.what),
            escape(check.slice),
            check.severity,
            escape(check.threshold),
            _number(check.measured),
        )
    return table


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("", width=2)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _mark(check: Check) -> str:
    return "[green]ok[/]" if check.passed else "[red]no[/]"


def _number(value: float | str | None) -> str:
    if value is None:
        return "-"
    return escape(value) if isinstance(value, str) else f"{value:.4g}"
