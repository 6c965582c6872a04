"""A run with one new day of thirty: what it costs beside one that knows nothing, by stage.

    .venv/bin/python benchmarks/incremental.py --days 30 --rows 100000

A file a day of TFX's 15,002 taxi trips, repeated, each number multiplied by noise of 5 %; the taxi
template's config (15 columns). Three runs up to Transform, each in a process of its own: `cold` of
all days and the new one in an empty project, `one day` of the new one alone, and `next day` in a
project that has run the days before. Seconds are those of the nodes in the run's record.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from data_path import taxi_config

REPO = Path(__file__).parents[1]
NODES = ("ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "DataGate", "Transform")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, default=30, help="before the new one")
    parser.add_argument("--rows", type=int, default=100_000, help="of a day")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    parser.add_argument("--json", type=Path, help="also write the results there")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="assay-bench-"))
    if folder.is_dir() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    try:
        days = write_days(folder / "days", given.days + 1, given.rows)
        old, new = days[:-1], days[-1:]
        run(project(folder / "next", old))
        results = {
            "cold": run(project(folder / "cold", days)),
            "next day": run(project(folder / "next", new)),
            "one day": run(project(folder / "one", new)),
        }
    finally:
        if given.folder is None:
            shutil.rmtree(folder)
    print(f"{given.days} days and a new one of {given.rows:,} rows each, {os.cpu_count()} cores")
    print(report(results))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def write_days(folder: Path, days: int, rows: int) -> list[Path]:
    """A CSV a day."""
    from beam_runners import generate

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"day-{day:02d}.csv" for day in range(days)]
    for number, file in enumerate(files):
        generate(file, rows, seed=number)
    return files


def project(folder: Path, days: list[Path]) -> Path:
    """Adds days to the data of a project, which is made if it is not there."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    for day in days:
        os.link(day, data / day.name)
    config = taxi_config()
    config["data"]["path"] = "data"
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def run(folder: Path) -> dict[str, float]:
    """Seconds of each node of a run up to Transform."""
    command = [str(REPO / ".venv/bin/assay"), "run", "--to", "Transform", str(folder)]
    with (folder / "output.txt").open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=log)
    if done.returncode:
        sys.exit((folder / "output.txt").read_text()[-3000:])
    records = [json.loads(path.read_text()) for path in folder.glob("runs/*/run.json")]
    nodes: dict[str, Any] = max(records, key=lambda record: record["started"])["nodes"]
    return {name: nodes[name]["seconds"] for name in NODES}


def report(results: dict[str, dict[str, float]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| node, seconds | " + " | ".join(results) + " | cold / next day |",
        "|---|" + "---:|" * (len(results) + 1),
    ]
    lines += [_line(name, [found[name] for found in results.values()]) for name in NODES]
    lines.append(_line("together", [sum(found.values()) for found in results.values()]))
    return "\n".join(lines)


def _line(name: str, seconds: list[float]) -> str:
    ratio = f"{seconds[0] / seconds[1]:.1f}" if seconds[1] > 0.05 else ""
    return f"| {name} | " + " | ".join([*(f"{value:.1f}" for value in seconds), ratio]) + " |"


if __name__ == "__main__":
    sys.exit(main())
