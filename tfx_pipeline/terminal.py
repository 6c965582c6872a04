"""`Terminal`: a console whose reader may go away (`assay run | head`); the work then goes on."""

from __future__ import annotations

import os

from rich.console import Console


class Terminal(Console):
    """Rich's console, which would end the program when nobody reads any more."""

    def on_broken_pipe(self) -> None:
        """Says nothing from now on."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())  # What is in its buffer must not fail once more.
        os.close(nowhere)
