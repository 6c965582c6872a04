"""Every template as it is, one `assay run` each: its metric and wall time.

    .venv/bin/python benchmarks/templates.py [--only churn,digits] [--write]

Prints the table of docs/templates.md. `--write` puts the figures there, and into the head of each
template's pipeline.yaml.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tfx_pipeline.config import load_config
from tfx_pipeline.report import record as records
from tfx_pipeline.templates import copy

REPO = Path(__file__).resolve().parents[1]
TEMPLATES = REPO / "tfx_pipeline" / "templates"
DOCS = REPO / "docs" / "templates.md"
NAMES = {"auc": "AUC"}


@dataclass(frozen=True)
class Figures:
    """What one run reached; `best` is the planted rule's own metric, None of real rows. `busy`:
    whether something else ran on this machine when it began."""

    metric: str
    value: float
    best: float | None
    ships: str
    seconds: float
    busy: bool


def measured(name: str, folder: Path) -> Figures:
    """One run, in a process of its own."""
    file = copy.copy_template(name, folder)
    busy = os.getloadavg()[0] > 1.2
    command = [sys.executable, "-m", "tfx_pipeline.cli.main", "run", str(folder)]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stdout}")
    config = load_config(file)
    record = records.load(config.root, "latest")
    metric = config.gates.quality.thresholds[0].metric
    truth = folder / "truth.json"
    best = json.loads(truth.read_text())["best"] if truth.exists() else None
    ships = record.verdicts.get("ServingGate", {}).get("winner", "float")
    return Figures(metric, record.metrics[metric], best, ships, record.seconds, busy)


def expected(found: Figures) -> str:
    """As in the header."""
    best = f"; the best possible is {found.best:.3f}" if found.best is not None else ""
    ships = "" if found.ships == "float" else f"; {found.ships} ships"
    metric = NAMES.get(found.metric, found.metric)
    return f"{metric} {found.value:.3f} on the held-out rows{best}{ships}"


def row(name: str, found: Figures) -> str:
    """As in the docs."""
    data, model = (_field(name, field) for field in ("Data", "Model"))
    real = "real" if not data.startswith("synthetic") else "synthetic"
    best = "" if found.best is None else f" (of {found.best:.3f})"
    metric = NAMES.get(found.metric, found.metric)
    what = copy.summaries()[name].split(": ", 1)[1]
    return (
        f"| `assay demo {name}` | {what} | {real} | {model} | {metric} {found.value:.3f}{best} | "
        f"{found.seconds:.0f} s |"
    )


def _header(name: str) -> Path:
    return TEMPLATES / name / "pipeline.yaml"


def _field(name: str, field: str) -> str:
    [value] = re.findall(rf"^# {field}: +(.+)$", _header(name).read_text(), re.MULTILINE)
    return str(value)


def write(name: str, found: Figures) -> None:
    """Puts the figures into the header and the docs."""
    text = _header(name).read_text()
    busy = ", busy with other work" if found.busy else ""
    time = f"{found.seconds:.0f} s for `assay run` on {os.cpu_count()} cores without a GPU{busy}"
    for field, value in (("Expected", expected(found)), ("Time", time)):
        text = re.sub(rf"^(# {field}: +).*$", rf"\g<1>{value}", text, flags=re.MULTILINE)
    _header(name).write_text(text)
    docs = DOCS.read_text()
    line = re.compile(rf"^\| `assay demo {name}` .*$", re.MULTILINE)
    DOCS.write_text(line.sub(lambda _: row(name, found), docs))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", help="names, between commas")
    parser.add_argument("--write", action="store_true", help="into the headers and the docs")
    asked = parser.parse_args()
    failed = 0
    for name in asked.only.split(",") if asked.only else copy.names():
        try:
            with tempfile.TemporaryDirectory() as folder:
                found = measured(name, Path(folder) / name)
        except RuntimeError as error:
            print(error, flush=True)
            failed += 1
            continue
        print(row(name, found), flush=True)
        if asked.write:
            write(name, found)
    return failed


if __name__ == "__main__":
    sys.exit(main())
