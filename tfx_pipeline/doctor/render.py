"""Shows findings on a terminal, worst news readable at a glance."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tfx_pipeline.doctor.finding import Finding

_MARK = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}


def render(findings: Sequence[Finding]) -> Table:
    """A table with one row a finding; what to do stands below what was seen."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        word, style = _MARK[finding.status]
        # Text, not markup: `tensorflow[and-cuda]` is to be typed as it stands.
        seen = Text(finding.detail)
        if finding.remedy:
            seen.append(f"\n-> {finding.remedy}", style="bold")
        table.add_row(Text(word, style=style), Text(finding.name), seen)
    return table


def summary(findings: Sequence[Finding]) -> str:
    """One sentence that says how it stands."""
    failed = sum(finding.status == "fail" for finding in findings)
    warned = sum(finding.status == "warn" for finding in findings)
    if failed:
        return f"{failed} of {len(findings)} checks failed: Assay will not work fully here."
    if warned:
        return f"Assay works here; {warned} of {len(findings)} checks have advice."
    return f"All {len(findings)} checks are fine."
