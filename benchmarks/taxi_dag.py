"""From raw taxi rows to a pushed model: `assay run` beside TFX's own example and a bare script.

    .venv/bin/python benchmarks/taxi_dag.py [--repeat 3]

The peer is `tfx/examples/chicago_taxi_pipeline/taxi_pipeline_native_keras.py` from the installed
wheel, unchanged, in an empty HOME. Ours is `assay run` on the taxi template in an empty folder.
The floor is taxi_dag_parts/bare.py: pandas, the template's network and steps, `model.save`. Each
runs as a process of its own, in turn, with nothing cached; the time is the process's, imports
included. CPU seconds are those of the process and what it started. Seconds of nodes are read from
each one's ML Metadata.

TFX's example runs Beam in worker processes that import tensorflow_data_validation before tfx. With
the versions that install on glibc before 2.38 that import fails: tfx_bsl 1.21 has no `sql_util`,
and tfx puts a mock in its place, but only where tfx is imported first. So the peer gets an empty
module of that name through a sitecustomize; without it, it could not be measured at all.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
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
BARE = Path(__file__).parent / "taxi_dag_parts" / "bare.py"
ASKED_OF_TFX, ASKED_OF_BARE = 0.27, 2.0
MISSING_MODULE = """\
import sys, types
sys.modules["tfx_bsl.arrow.sql_util"] = types.ModuleType("tfx_bsl.arrow.sql_util")
"""


@dataclass
class Result:
    """Seconds of one run, in all, of CPU, and by node, and the AUC where it was measured."""

    total: float
    cpu: float
    nodes: dict[str, float] = field(default_factory=dict)
    auc: float | None = None
    log: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=1, help="runs of each, in turn")
    parser.add_argument("--ours-only", action="store_true", help="skip TFX's example")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()

    sides: dict[str, list[Result]] = {name: [] for name in ("tfx", "bare", "assay", "assay_cached")}
    for _ in range(arguments.repeat):
        with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder:
            if not arguments.ours_only:
                sides["tfx"].append(run_tfx(Path(folder) / "tfx"))
            sides["assay"].append(run_assay(Path(folder) / "assay"))
            sides["assay_cached"].append(run_assay(Path(folder) / "assay"))
            sides["bare"].append(run_bare(Path(folder) / "assay" / "data.csv", Path(folder)))
    report(sides)
    if arguments.json:
        text = json.dumps({k: [vars(r) for r in found] for k, found in sides.items()}, indent=1)
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
    seconds, cpu = timed(
        [sys.executable, str(example / "taxi_pipeline_native_keras.py")],
        home / "log.txt",
        {"HOME": str(home), "PYTHONPATH": str(home / "path")},
    )
    if not list((home / "taxi" / "serving_model").glob("*/*/saved_model.pb")):
        sys.exit(f"TFX's example pushed no model:\n{tail(home / 'log.txt')}")
    return Result(seconds, cpu, node_seconds(home / "tfx" / "metadata"))


def run_bare(data: Path, folder: Path) -> Result:
    """The same rows without a pipeline."""
    log = folder / "bare.txt"
    seconds, cpu = timed([sys.executable, str(BARE), str(data), str(folder / "model")], log, {})
    found = re.search(r"^auc (\S+)$", log.read_text(errors="replace"), re.MULTILINE)
    if found is None or not (folder / "model" / "saved_model.pb").exists():
        sys.exit(f"the bare script saved no model:\n{tail(log)}")
    return Result(seconds, cpu, auc=float(found[1]))


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
    seconds, cpu = timed([str(ASSAY), "run", str(config)], folder / "log.txt", {})
    runs = sorted((folder / "runs").glob("*/run.json"))
    record = json.loads(runs[-1].read_text()) if runs else {}
    if record.get("state") != "complete":
        sys.exit(f"assay run did not end well:\n{tail(folder / 'log.txt')}")
    nodes = {name: node["seconds"] for name, node in record["nodes"].items()}
    return Result(seconds, cpu, nodes, record["metrics"].get("auc"))


def timed(command: list[str], log: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Wall seconds and CPU seconds (user and system) of a command."""
    with log.open("w") as file:
        before, started = cpu_of_children(), time.monotonic()
        done = subprocess.run(
            command, stdout=file, stderr=file, env={**os.environ, **environment}, check=False
        )
        seconds, cpu = time.monotonic() - started, cpu_of_children() - before
    if done.returncode:
        sys.exit(f"{command[0]} ended with code {done.returncode}:\n{tail(log)}")
    return seconds, cpu


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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


def report(sides: dict[str, list[Result]]) -> None:
    theirs, bare, ours = sides["tfx"], sides["bare"], sides["assay"]
    print(
        f"Chicago taxi, 15,002 rows; tfx {version('tfx')}, tensorflow {version('tensorflow')}, "
        f"{os.cpu_count()} cores; medians of {len(ours)}; seconds\n"
    )
    print(
        f"{'node':<28}" + "".join(f"{h:>14}" for h in ("TFX example", "bare", "assay run", "again"))
    )
    for name in dict.fromkeys(n for side in sides.values() for r in side for n in r.nodes):
        row(name, [[r.nodes[name] for r in side if name in r.nodes] for side in sides.values()])
    rests = [[r.total - sum(r.nodes.values()) for r in side if r.nodes] for side in sides.values()]
    row("imports and all else", rests)
    row("start to pushed model", [[r.total for r in side] for side in sides.values()])
    row("CPU seconds of that", [[r.cpu for r in side] for side in sides.values()])
    print()
    for what, base, asked in (
        ("TFX's example", theirs, ASKED_OF_TFX),
        ("the bare script", bare, ASKED_OF_BARE),
    ):
        if base:
            ratios = [o.total / b.total for b, o in zip(base, ours, strict=True)]
            found = f"{statistics.median(ratios):.3f}"
            print(f"assay run to {what:<16} {found}   (asked: at most {asked:g})")
    for what, side, asked in (("assay run", ours, " (asked: at least 0.945)"), ("bare", bare, "")):
        found = [r.auc for r in side if r.auc is not None]
        if found:
            print(f"AUC on the held-out third, {what}: {statistics.median(found):.4f}{asked}")


def row(name: str, sides: list[list[float]]) -> None:
    print(f"{name:<28}" + "".join(cell(median(values)) for values in sides))


def median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def cell(value: float | None) -> str:
    return f"{'-':>14}" if value is None else f"{value:>14.1f}"


if __name__ == "__main__":
    main()
