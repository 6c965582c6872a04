"""The same StatisticsGen and Transform on FnApiRunner, Flink and Spark: rows a second, peak memory.

    .venv/bin/python benchmarks/beam_runners.py --rows 1000000

The rows are generated: TFX's 15,002 taxi trips, repeated, each number multiplied by noise of 5 %,
so that quantiles and vocabularies have work to do. Flink and Spark run inside the job server
(`[local]`, `local[N]`) with one task for each core, as they would on one machine of a cluster;
LOOPBACK, so the Python code is in one process on each runner. Memory is the peak, over samples
0.2 s apart, of the resident memory of the command and everything that it started, Java too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from memory import resident

REPO = Path(__file__).parents[1]
NODES = ("StatisticsGen", "Transform")
CONFIG: dict[str, Any] = {
    "name": "bench",
    "data": {
        "path": "../data.csv",
        "label": {"column": "tips", "task": "binary", "above": 0.2, "of": "fare"},
    },
    "features": {
        "columns": {
            "fare": {"kind": "numeric", "log": True},
            "trip_miles": {"kind": "numeric", "buckets": 10},
            "trip_seconds": {"kind": "numeric"},
            "payment_type": {"kind": "categorical"},
            "company": {"kind": "categorical"},
        }
    },
    "gates": {"quality": {"thresholds": [{"metric": "auc", "min": 0.5}]}},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runners", default="local,flink,spark")
    parser.add_argument("--parallelism", type=int, default=os.cpu_count())
    parser.add_argument("--memory-mb", type=int, default=4096, help="heap of Flink and Spark")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    parser.add_argument("--json", type=Path, help="also write the results there")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="assay-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    size = generate(folder / "data.csv", given.rows)
    print(f"{given.rows:,} generated rows, {size / 1e6:.0f} MB of CSV, {os.cpu_count()} cores")
    heading = "".join(f"{node + ' rows/s':>24}" for node in NODES)
    print(f"{'runner':8}{heading}{'peak memory GB':>18}{'whole run s':>14}", flush=True)
    results = []
    try:
        for runner in given.runners.split(","):
            result = measure(folder, runner, given)
            results.append(result)
            rates = "".join(f"{given.rows / result[node]:>24,.0f}" for node in NODES)
            memory = f"{result['peak_bytes'] / 1e9:.2f}"
            print(f"{runner:8}{rates}{memory:>18}{result['seconds']:>14.0f}", flush=True)
    finally:
        if given.folder is None:
            shutil.rmtree(folder)
    if given.json:
        made = {"rows": given.rows, "csv_bytes": size, "results": results}
        given.json.write_text(json.dumps(made, indent=1) + "\n")
    return 0


def generate(path: Path, rows: int, seed: int = 0) -> int:
    """Writes the rows; the size of the file in bytes."""
    import tfx

    trips = Path(tfx.__path__[0]) / "examples/chicago_taxi_pipeline/data/simple/data.csv"
    source = pd.read_csv(trips)
    noisy = [c for c in ("fare", "tips", "trip_miles", "trip_seconds") if c in source]
    random = np.random.default_rng(seed)
    with path.open("w") as file:
        for start in range(0, rows, len(source)):
            part = source.head(rows - start).copy()
            for column in noisy:
                changed = part[column] * random.normal(1, 0.05, len(part))
                part[column] = changed.round(0 if column == "trip_seconds" else 2)
            part.to_csv(file, index=False, header=start == 0)
    return path.stat().st_size


def measure(folder: Path, runner: str, given: argparse.Namespace) -> dict[str, Any]:
    """One run on one runner: seconds of each node and of the whole, and the peak of memory."""
    project = folder / runner
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    beam: dict[str, Any] = {"runner": runner}
    if runner != "local":
        beam |= {"parallelism": given.parallelism, "memory_mb": given.memory_mb}
    (project / "pipeline.yaml").write_text(yaml.safe_dump({**CONFIG, "run": {"beam": beam}}))
    command = [str(REPO / ".venv/bin/assay"), "run", "--to", "Transform", str(project)]
    jars = {"ASSAY_JARS": str(REPO / ".tools/beam/jars"), "SPARK_LOCAL_IP": "127.0.0.1"}
    started = time.monotonic()
    with (folder / f"{runner}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**jars, **os.environ})
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.2)
    seconds = time.monotonic() - started
    if process.returncode:
        sys.exit((folder / f"{runner}.log").read_text()[-3000:])
    [record] = project.glob("runs/*/run.json")
    nodes = json.loads(record.read_text())["nodes"]
    times = {node: nodes[node]["seconds"] for node in NODES}
    return {"runner": runner, "seconds": seconds, "peak_bytes": peak, **times}


if __name__ == "__main__":
    sys.exit(main())
