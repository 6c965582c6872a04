"""Writes the version matrix of BeamRunner.md from the installed Beam (`--check`: only compares)."""

from __future__ import annotations

import sys
from pathlib import Path

from tfx_pipeline.runners.beam import assembled, matrix

PAGE = Path("BeamRunner.md")
START = "<!-- matrix: written by tools/beam_matrix.py -->"
END = "<!-- end of matrix -->"


def table() -> str:
    """The matrix in Markdown."""
    servers = matrix.job_servers()
    lines = [
        f"apache-beam {servers[0].beam} is installed. Its release publishes these job servers:",
        "",
        "| engine | version | job server on Maven Central (group `org.apache.beam`) "
        "| pinned recipe, run by our tests |",
        "|---|---|---|---|",
    ]
    for server in servers:
        recipe = assembled.recipe(server.engine, server.engine_version)
        pinned = f"{recipe.engine_version}, Beam {recipe.beam}" if recipe else "–"
        lines.append(
            f"| {server.engine.capitalize()} | {server.engine_version} "
            f"| `{server.artifact}:{server.beam}` | {pinned} |"
        )
    return "\n".join(lines)


def main() -> int:
    text = PAGE.read_text()
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    made = f"{before}{START}\n{table()}\n{END}{after}"
    if sys.argv[1:] == ["--check"]:
        if made != text:
            print(f"{PAGE} is stale: .venv/bin/python tools/beam_matrix.py")
            return 1
        return 0
    PAGE.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
