"""A verdict as a small table for the terminal, readable at 80 columns."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tfx_pipeline.gates.verdict import Check, Verdict

_SHOWN_AT_MOST = 12


def render(verdict: Verdict) -> RenderableType:
    """The decision, its checks (failures first) and the reason of each failure.

    Args:
        verdict: What to show.

    Returns:
        A rich renderable. Checks that passed are left out beyond a dozen rows; failures never are.
    """
    word, style = ("blessed", "bold green") if verdict.blessed else ("refused", "bold red")
    head = Text.assemble(f"{verdict.gate} gate: ", (word, style), f". {verdict.reason}")
    shown = _shown(verdict)
    parts: list[RenderableType] = [head]
    if shown:
        anomalies = verdict.gate == "data"
        parts.append(_anomaly_table(shown) if anomalies else _metric_table(shown))
    parts += [
        Text(f"  {check.what} on {check.slice}: {check.reason}", style="red")
        for check in verdict.failed
        if check.reason
    ]
    left_out = len(verdict.checks) - len(shown)
    if left_out:
        parts.append(Text(f"  and {left_out} more checks that passed", style="dim"))
    return Group(*parts)


def _shown(verdict: Verdict) -> list[Check]:
    failed = verdict.failed
    passed = [check for check in verdict.checks if check.passed]
    # The tightest passes say most; those without a margin come last.
    passed.sort(key=lambda check: (check.margin is None, check.margin or 0.0))
    return failed + passed[: max(0, _SHOWN_AT_MOST - len(failed))]


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
