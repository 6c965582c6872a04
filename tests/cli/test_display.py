"""What a run looks like, on a terminal and without one."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from tfx_pipeline.cli.display import RunDisplay
from tfx_pipeline.report.record import NodeRecord, RunRecord, now


def shown(*, terminal: bool, quiet: bool = False) -> str:
    """A short run, drawn on a console that keeps what it gets."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, color_system=None)
    record = RunRecord(run_id="20260101-000000-abcd", pipeline="taxi", started=now())
    with RunDisplay(console, record, quiet=quiet) as display:
        display.nodes_known(["ExampleGen", "Trainer", "Pusher"])
        display.node_started("ExampleGen")
        display.node_ended("ExampleGen", NodeRecord(state="cached", seconds=0.04))
        display.node_started("Trainer")
        display.node_progress("Trainer", 300, 1000, "loss 0.4321")
        if terminal:
            time.sleep(0.4)  # The live line is drawn eight times a second.
        display.node_retried("Trainer", "the connection was reset\nsecond line")
        display.node_ended("Trainer", NodeRecord(state="complete", seconds=2.5))
        display.node_ended("Pusher", NodeRecord(state="failed", seconds=0.1))
    return out.getvalue()


def test_without_a_terminal_each_node_is_one_line() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines[0] == "taxi  run 20260101-000000-abcd"
    assert [line.split()[:2] for line in lines[1:]] == [
        ["✓", "start"],
        ["✓", "ExampleGen"],
        ["↻", "Trainer:"],
        ["✓", "Trainer"],
        ["✗", "Pusher"],
    ]
    assert lines[2].endswith("0.0 s  cached")
    assert lines[3].endswith("the connection was reset; trying again")
    assert lines[4].endswith("2.5 s  1000 steps, loss 0.4321")


def test_on_a_terminal_the_running_node_has_a_bar() -> None:
    text = shown(terminal=True)
    assert "━" in text
    assert "loss 0.4321" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_says_nothing(terminal: bool) -> None:
    assert shown(terminal=terminal, quiet=True) == ""
