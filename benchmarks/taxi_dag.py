"""From raw taxi rows to a pushed model: `assay run` beside TFX's own example, in one run.

    .venv/bin/python benchmarks/taxi_dag.py [--repeat 3]

The peer is `tfx/examples/chicago_taxi_pipeline/taxi_pipeline_native_keras.py` from the installed
wheel, unchanged, in an empty HOME. Ours is `assay run` on the taxi template in an empty folder.
Both run as a process of their own, in turn, with nothing cached; the time is the process's, imports
included. Seconds of nodes are read from each one's ML Metadata.

TFX's example runs Beam in worker processes that import tensorflow_data_validation before tfx. With
the versions that install on glibc before 2.38 that import fails: tfx_bsl 1.21 has no `sql_util`,
and tfx puts a mock in its place, but only where tfx is imported first. So the peer gets an empty
module of that name through a sitecustomize; without it, it could not be measured at all.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import yaml

SERVING = ("size_bytes", "objective")
ASSAY = Path(sys.executable).with_name("assay")
MISSING_MODULE = """\
import sys, types
sys.modules["tfx_bsl.arrow.sql_util"] = types.ModuleType("tfx_bsl.arrow.sql_util")
"""


@dataclass
class Result:
    """Seconds of one run, in all and by node, and the AUC where it was measured."""

    total: float
    nodes: dict[str, float] = field(default_factory=dict)
    auc: float | None = None
    log: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=1, help="runs of each, in turn")
    parser.add_argument("--ours-only", action="store_true", help="skip TFX's example")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()

    theirs: list[Result] = []
    ours: list[Result] = []
    cached: list[Result] = []
    for _ in range(arguments.repeat):
        with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder:
            if not arguments.ours_only:
                theirs.append(run_tfx(Path(folder) / "tfx"))
            ours.append(run_assay(Path(folder) / "assay"))
            cached.append(run_assay(Path(folder) / "assay"))
    report(theirs, ours, cached)
    if arguments.json:
        results = {"tfx": theirs, "assay": ours, "assay_cached": cached}
        text = json.dumps({k: [vars(r) for r in found] for k, found in results.items()}, indent=1)
        arguments.json.write_text(text + "\n")


def run_tfx(home: Path) -> Result:
    """TFX's example as its README says: data and module file below ~/taxi."""
    spec = find_spec("tfx")
    assert spec is not None
    assert spec.origin is not None
    example = Path(spec.origin).parent / "examples" / "chicago_taxi_pipeline"
    (home / "taxi").mkdir(parents=True)
    (home / "path").mkdir()
    (home / "path" / "sitecustomize.py").write_text(MISSING_MODULE)
    shutil.copytree(example / "data", home / "taxi" / "data")
    shutil.copy(example / "taxi_utils_native_keras.py", home / "taxi")
    seconds = timed(
        [sys.executable, str(example / "taxi_pipeline_native_keras.py")],
        home / "log.txt",
        {"HOME": str(home), "PYTHONPATH": str(home / "path")},
    )
    if not list((home / "taxi" / "serving_model").glob("*/*/saved_model.pb")):
        sys.exit(f"TFX's example pushed no model:\n{tail(home / 'log.txt')}")
    return Result(seconds, node_seconds(home / "tfx" / "metadata"))


def run_assay(folder: Path) -> Result:
    """`assay run` on the taxi template; the second time in one folder, everything is cached.

    Without its compression and serving gate, which TFX's example has nothing to set against.
    """
    from tfx_pipeline.templates.copy import copy_template

    config = copy_template("taxi", folder)
    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    for section, name in ((document, "compress"), *((document["gates"], n) for n in SERVING)):
        section.pop(name, None)
    config.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    seconds = timed([str(ASSAY), "run", str(config)], folder / "log.txt", {})
    runs = sorted((folder / "runs").glob("*/run.json"))
    record = json.loads(runs[-1].read_text()) if runs else {}
    if record.get("state") != "complete":
        sys.exit(f"assay run did not end well:\n{tail(folder / 'log.txt')}")
    nodes = {name: node["seconds"] for name, node in record["nodes"].items()}
    return Result(seconds, nodes, record["metrics"].get("auc"))


def timed(command: list[str], log: Path, environment: dict[str, str]) -> float:
    with log.open("w") as file:
        started = time.monotonic()
        done = subprocess.run(
            command, stdout=file, stderr=file, env={**os.environ, **environment}, check=False
        )
        seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(f"{command[0]} ended with code {done.returncode}:\n{tail(log)}")
    return seconds


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:])


def node_seconds(folder: Path) -> dict[str, float]:
    """Seconds between an execution's creation and its last update, by component."""
    import ml_metadata
    from ml_metadata.proto import metadata_store_pb2

    [database] = folder.rglob("metadata.db")
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(database)
    store = ml_metadata.MetadataStore(connection)
    found = {}
    for execution in store.get_executions():
        contexts = store.get_contexts_by_execution(execution.id)
        name = next(c.name.rpartition(".")[2] for c in contexts if c.type == "node")
        milliseconds = execution.last_update_time_since_epoch - execution.create_time_since_epoch
        found[name] = milliseconds / 1000
    return found


def report(theirs: list[Result], ours: list[Result], cached: list[Result]) -> None:
    print(
        f"Chicago taxi, 15,002 rows; tfx {version('tfx')}, tensorflow {version('tensorflow')}, "
        f"{os.cpu_count()} cores; medians of {len(ours)}; seconds\n"
    )
    names = list(dict.fromkeys(n for r in (*theirs, *ours) for n in r.nodes))
    print(f"{'node':<28}{'TFX example':>14}{'assay run':>14}{'again':>14}")
    for name in names:
        row = [
            median([r.nodes[name] for r in side if name in r.nodes])
            for side in (theirs, ours, cached)
        ]
        print(f"{name:<28}" + "".join(cell(value) for value in row))
    rest = [
        median([r.total - sum(r.nodes.values()) for r in side]) for side in (theirs, ours, cached)
    ]
    print(f"{'imports and all else':<28}" + "".join(cell(value) for value in rest))
    totals = [median([r.total for r in side]) for side in (theirs, ours, cached)]
    print(f"{'start to pushed model':<28}" + "".join(cell(value) for value in totals))
    if theirs:
        ratios = [o.total / t.total for t, o in zip(theirs, ours, strict=True)]
        print(f"\nratio: {statistics.median(ratios):.3f}   (asked: at most 0.45)")
    found = [r.auc for r in ours if r.auc is not None]
    if found:
        print(
            f"AUC on the held-out third: {statistics.median(found):.4f}   (asked: at least 0.945)"
        )


def median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def cell(value: float | None) -> str:
    return f"{'-':>14}" if value is None else f"{value:>14.1f}"


if __name__ == "__main__":
    main()
