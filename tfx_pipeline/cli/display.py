"""Draws a run: a line for each node when it ends, a moving one for each node that runs."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table

from tfx_pipeline.report.record import NodeRecord, RunRecord
from tfx_pipeline.runners.beam.choice import Choice

_MARKS = {
    "complete": "[green]✓[/]",
    "cached": "[green]✓[/]",
    "reused": "[green]✓[/]",
    "refused": "[yellow]✗[/]",
    "not pushed": "[yellow]–[/]",
    "interrupted": "[yellow]–[/]",
    "skipped": "[yellow]–[/]",
    "not run": "[dim]–[/]",
    "failed": "[red]✗[/]",
}
# What this run did not spend time on has no seconds.
_WITHOUT_SECONDS = {"reused", "not pushed", "skipped", "not run"}


def show_choice(console: Console, choice: Choice, *, quiet: bool = False) -> None:
    """What `run.beam.runner: auto` has decided; `quiet`: a warning only."""
    if choice.said and (choice.is_warning or not quiet):
        style = "yellow" if choice.is_warning else "dim"
        console.print(f"[{style}]{escape(choice.said)}[/]", highlight=False, soft_wrap=True)


class RunDisplay:
    """Shows a run on a console. Without a terminal, it prints only the lines of ended nodes."""

    def __init__(self, console: Console, record: RunRecord, *, quiet: bool) -> None:
        self._console = console
        self._record = record
        self._quiet = quiet
        self._width = 20
        self._lock = threading.Lock()
        self._running: dict[str, tuple[float, Spinner]] = {}
        self._progress: dict[str, tuple[int, int, str]] = {}
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> RunDisplay:
        self._print(f"[bold]{escape(self._record.pipeline)}[/]  run {self._record.run_id}")
        self.node_started("start")
        if self._console.is_interactive and not self._quiet:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def nodes_known(self, node_ids: list[str]) -> None:
        """Ends the start: TFX is imported and the graph compiled."""
        with self._lock:
            started, _ = self._running.pop("start")
            self._width = max(map(len, node_ids), default=20)
        self._line("[green]✓[/]", "start", time.monotonic() - started, "[dim]imports, graph[/]")

    def node_started(self, node_id: str) -> None:
        """A node runs."""
        with self._lock:
            self._running[node_id] = (time.monotonic(), Spinner("dots"))

    def node_progress(self, node_id: str, done: int, total: int, note: str) -> None:
        """A node says how far it is. Called from the node's own thread."""
        with self._lock:
            self._progress[node_id] = (done, total, note)

    def node_said(self, node_id: str, text: str) -> None:
        """Something happened to a node that its user should know: it is tried again, or goes on
        from a checkpoint. May be called from the node's own thread."""
        self._print(f"  [yellow]↻[/] {node_id}: {escape(text)}")

    def node_ended(self, node_id: str, record: NodeRecord) -> None:
        """A node has ended: its line is printed for good."""
        with self._lock:
            self._running.pop(node_id, None)
            self._progress.pop(node_id, None)
        kind = record.outcome or record.state
        self._line(
            _MARKS.get(kind, " "),
            node_id,
            None if kind in _WITHOUT_SECONDS else record.seconds,
            escape(" ".join(words for words in (record.said, record.note) if words)),
        )

    def _line(self, mark: str, name: str, seconds: float | None, note: str) -> None:
        took = " " * 9 if seconds is None else f"{seconds:7.1f} s"
        self._print(f"  {mark} {name:<{self._width}} {took}  {note}".rstrip())

    def _print(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, highlight=False, soft_wrap=True)

    def _draw(self) -> Table:
        table = Table.grid(padding=(0, 1))
        with self._lock:
            for name, (started, spinner) in self._running.items():
                done, total, note = self._progress.get(name, (0, 0, ""))
                seconds = f"{time.monotonic() - started:7.1f} s "
                bar = ProgressBar(total, done, width=24) if total else ""
                table.add_row("", spinner, f"{name:<{self._width}}", seconds, bar, escape(note))
        return table
