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
        display.node_said("Trainer", "the connection was reset; trying again")
        trained = NodeRecord(state="complete", seconds=2.5, note="1000 steps, loss 0.4321")
        display.node_ended("Trainer", trained)
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


@pytest.mark.parametrize(
    ("node", "line"),
    [
        (NodeRecord(state="complete", seconds=2.0), "✓ Node      2.0 s"),
        (
            NodeRecord(state="complete", outcome="refused", seconds=2.0),
            "✗ Node      2.0 s  refused",
        ),
        (NodeRecord(state="cached", outcome="refused"), "✗ Node      0.0 s  refused, cached"),
        (NodeRecord(state="complete", outcome="not pushed", seconds=0.1), "– Node  not pushed"),
        (NodeRecord(state="reused", seconds=4.1), "✓ Node  reused"),
        (NodeRecord(state="skipped"), "– Node  skipped"),
        (
            NodeRecord(state="failed", outcome="interrupted", seconds=3.0, note="at step 5 of 9"),
            "– Node      3.0 s  interrupted at step 5 of 9",
        ),
    ],
)
def test_a_line_says_what_became_of_its_node(node: NodeRecord, line: str) -> None:
    out = io.StringIO()
    record = RunRecord(run_id="20260101-000000-abcd", pipeline="taxi", started=now())
    with RunDisplay(Console(file=out, width=100), record, quiet=False) as display:
        display.nodes_known(["Node"])
        display.node_ended("Node", node)
    assert out.getvalue().splitlines()[-1].split() == line.split()


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_says_nothing(terminal: bool) -> None:
    assert shown(terminal=terminal, quiet=True) == ""
