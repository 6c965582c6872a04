"""Runs a command on a terminal of its own and draws what it shows as SVG, for the README.

.venv/bin/python tools/screenshot.py docs/images/demo.svg .venv/bin/assay demo --folder build/taxi
"""

from __future__ import annotations

import io
import os
import pty
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 84
# What a live display draws and takes away again: cursor movements and erased lines.
MOVES = re.compile(rb"\x1b\[[0-9;?]*[A-HJKSTfhlsu]")


def main() -> None:
    target, *command = sys.argv[1:]
    os.environ["COLUMNS"] = str(WIDTH)
    os.environ["TERM"] = "xterm-256color"
    os.environ["TTY_INTERACTIVE"] = "0"  # rich: colours, but no live lines that come and go.
    os.environ["FORCE_COLOR"] = "1"
    chunks: list[bytes] = []

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 65536)
        chunks.append(data)
        return data

    pty.spawn(command, read)
    text = MOVES.sub(b"", b"".join(chunks)).decode().replace("\r\n", "\n")
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print("[bold]$[/] " + " ".join([Path(command[0]).name, *command[1:]]))
    console.print(Text.from_ansi(text.rstrip()), soft_wrap=False)
    svg = console.export_svg(title="assay")
    # The fonts would be fetched from the network; the reader's own monospace will do.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(svg)


if __name__ == "__main__":
    main()
