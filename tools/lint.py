"""Runs every check of `make lint` and prints one line each, or what a check that failed said."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lock

BIN = Path(sys.executable).parent
SCHEMA = Path("docs/pipeline.schema.json")


def command(*words: str) -> str:
    """What a command said if it failed; "" if it succeeded."""
    environment = {**os.environ, "NO_COLOR": "1"}
    run = subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=environment,
    )
    return run.stdout.strip() or f"{words[0]} ended with {run.returncode}" if run.returncode else ""


def schema_staleness() -> str:
    """Why the committed JSON schema of pipeline.yaml is not the one of the code, or ""."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / SCHEMA.name
        with made.open("w") as output:
            errors = subprocess.run(
                [str(BIN / "assay"), "schema"],
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        if errors.returncode:
            return f"`assay schema` ended with {errors.returncode}:\n{errors.stderr}"
        if not SCHEMA.exists() or made.read_text() != SCHEMA.read_text():
            return f"{SCHEMA} is stale: .venv/bin/assay schema > {SCHEMA}"
    return ""


CHECKS: dict[str, Callable[[], str]] = {
    # The slowest first, because two run at once.
    "mypy": lambda: command("mypy"),
    "import rules": lambda: command("lint-imports", "--no-cache"),
    "JSON schema is fresh": schema_staleness,
    "config.md is fresh": lambda: command("python", "tools/config_reference.py", "--check"),
    "BeamRunner.md is fresh": lambda: command("python", "tools/beam_matrix.py", "--check"),
    "ruff check": lambda: command("ruff", "check", "--output-format", "concise", "."),
    "ruff format": lambda: command("ruff", "format", "--check", "."),
    "lock is fresh": lambda: lock.staleness(Path("requirements")),
}


def timed(check: Callable[[], str]) -> tuple[str, float]:
    """What a check said, and its seconds."""
    started = time.monotonic()
    return check(), time.monotonic() - started


def main() -> int:
    failed = 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name, outcome in zip(CHECKS, pool.map(timed, CHECKS.values()), strict=True):
            said, seconds = outcome
            print(f"{'FAIL' if said else 'ok  '} {name:22} {seconds:5.1f} s", flush=True)
            if said:
                failed += 1
                print("\n".join(f"     {line}" for line in said.splitlines()), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
