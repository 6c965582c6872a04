"""Ingest, statistics, schema, validation, Transform and Evaluator beside plain TFX's, by size.

    .venv/bin/python benchmarks/data_path.py --rows 15000 300000 3000000

The rows are generated: TFX's 15,002 taxi trips, repeated, each number multiplied by noise of 5 %.
The config is the taxi template's (15 columns, two slices). Plain TFX: CsvExampleGen, StatisticsGen,
SchemaGen, ExampleValidator, Transform and Evaluator as they come, on FnApiRunner, with the same
`preprocessing_fn`; its Evaluator with the same model and examples, and TFMA's own AUC, accuracy,
cross entropy and count. Each side runs in a process of its own; the executors are timed, not
imports and MLMD. Memory is the peak of the process so far, with all that it started; what
processes have in common counts once, and in the JSON once for each, too. `slope` is
seconds against rows on log axes, from the first size to the last: below 1, a fixed part is in it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).parents[1]
CHILD = Path(__file__).parent / "data_path_parts" / "stages.py"
STAGES = ("ingest", "statistics", "schema", "validation", "transform", "evaluator")
PATH = STAGES[:-1]
NAMES = {"stock": "plain TFX", "ours": "Assay"}

# {rows: {side: {stage: {"seconds", "cpu_seconds", "peak_mb"}}}}
Results = dict[int, dict[str, dict[str, dict[str, float]]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[15_000, 300_000, 3_000_000])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--sides", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--stock-up-to", type=int, default=300_000, help="larger: ours alone")
    parser.add_argument("--model", help="a Trainer's model; else one is trained first")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    parser.add_argument("--json", type=Path, help="also write the results there")
    given = parser.parse_args()
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        config = taxi_config()
        model = given.model
        if model is None and "evaluator" in given.stages:
            model = train(folder / "model", config)
        for rows in given.rows:
            csv = folder / f"{rows}.csv"
            if not csv.exists():
                generate(csv, rows)
            results[rows] = {}
            # Ours first: plain TFX's Evaluator reads its examples, which have the model's types.
            for side in sorted(given.sides, key=("ours", "stock").index):
                if side == "stock" and rows > given.stock_up_to:
                    continue
                out = folder / f"{side}-{rows}"
                out.mkdir(exist_ok=True)
                asked = {
                    "which": side,
                    "csv": str(csv.resolve()),
                    "config": config,
                    "out": str(out),
                    "model": model,
                    "evaluated": str(folder / f"ours-{rows}"),
                    "stages": given.stages,
                }
                results[rows][side] = measure(asked)
                if given.json:
                    given.json.write_text(json.dumps(results, indent=1) + "\n")
    print(report(results, given.stages))


def taxi_config() -> dict[str, Any]:
    """The taxi template's config without what follows the Evaluator."""
    path = REPO / "tfx_pipeline" / "templates" / "taxi" / "pipeline.yaml"
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    quality = config["gates"]["quality"]
    thresholds = [{"metric": "auc", "min": 0.5}]
    config["gates"] = {"quality": {"thresholds": thresholds, "slices": quality["slices"]}}
    return {key: config[key] for key in ("name", "data", "features", "model", "train", "gates")}


def generate(path: Path, rows: int) -> None:
    """Writes the rows, as `benchmarks/beam_runners.py` does."""
    from beam_runners import generate as made

    made(path, rows)


def train(folder: Path, config: dict[str, Any]) -> str:
    """A model to evaluate: 200 steps on 15,000 rows. The folder of the Model artifact."""
    folder.mkdir(exist_ok=True)
    generate(folder / "data.csv", 15_000)
    settings = {**config, "train": {**config["train"], "steps": 200}}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [str(REPO / ".venv/bin/assay"), "run", "--to", "Trainer", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    [model] = folder.rglob("Format-Serving")
    return str(model.parent)


def measure(asked: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Runs one side's stages in a process of its own."""
    with (Path(asked["out"]) / "log.txt").open("w") as log:
        command = [sys.executable, str(CHILD), json.dumps(asked)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=REPO)
    if done.returncode:
        sys.exit((Path(asked["out"]) / "log.txt").read_text()[-3000:])
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(results: Results, stages: list[str]) -> str:
    """The figures as Markdown."""
    sides = [side for side in NAMES if any(side in found for found in results.values())]
    columns = [(rows, side) for rows in results for side in sides if side in results[rows]]
    heads = [f"{rows:,} {NAMES[side]}" for rows, side in columns]
    machine = f"{os.cpu_count()} cores"
    lines = [
        f"tfx {version('tfx')}, tensorflow {version('tensorflow')}, {machine}; seconds",
        "",
        "| stage | " + " | ".join(heads) + " | slope, Assay |",
        "|---|" + "---:|" * (len(heads) + 1),
    ]
    for stage in stages:
        cells = [f"{results[rows][side][stage]['seconds']:.1f}" for rows, side in columns]
        lines.append(f"| {stage} | " + " | ".join([*cells, slope(results, [stage])]) + " |")
    path = [stage for stage in stages if stage in PATH]
    sums = [f"{total(results[rows][side], path):.1f}" for rows, side in columns]
    lines.append("| without evaluator | " + " | ".join([*sums, slope(results, path)]) + " |")
    peaks = [
        f"{max(stage['peak_mb'] for stage in results[rows][side].values()) / 1000:.2f}"
        for rows, side in columns
    ]
    lines.append("| peak memory, GB | " + " | ".join([*peaks, ""]) + " |")
    for rows, found in results.items():
        if len(found) == 2:
            lines += ["", f"{rows:,} rows, times as fast as plain TFX: {ratios(found, path)}"]
    return "\n".join(lines)


def ratios(found: dict[str, dict[str, dict[str, float]]], path: list[str]) -> str:
    """By the clock, and in brackets by seconds of the processor, which other work does not slow."""
    groups = {"without evaluator": path} if path else {}
    if "evaluator" in found["ours"]:
        groups["evaluator"] = ["evaluator"]
    lines = []
    for name, stages in groups.items():
        clock, busy = (
            total(found["stock"], stages, what) / total(found["ours"], stages, what)
            for what in ("seconds", "cpu_seconds")
        )
        lines.append(f"{name} {clock:.1f} ({busy:.1f})")
    return "; ".join(lines)


def total(side: dict[str, dict[str, float]], stages: list[str], what: str = "seconds") -> float:
    return sum(side[stage][what] for stage in stages)


def slope(results: Results, stages: list[str]) -> str:
    sizes = sorted(rows for rows in results if "ours" in results[rows])
    if len(sizes) < 2 or not stages:
        return ""
    few, many = (total(results[rows]["ours"], stages) for rows in (sizes[0], sizes[-1]))
    return f"{math.log(many / few) / math.log(sizes[-1] / sizes[0]):.2f}"


if __name__ == "__main__":
    main()
