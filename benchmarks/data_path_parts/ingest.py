"""Our ExampleGen beside TFX's CsvExampleGen on the same CSV: rows a second and peak memory.

    .venv/bin/python benchmarks/data_path_parts/ingest.py rows.csv

Each runs in a child process of its own, which times the executor alone (`Do`: reading, splitting,
encoding, writing) and not the imports. Memory is the peak of the resident memory of that process
and the processes that it started, together, over samples 0.05 s apart; `grown` is how much of it
came after the imports. "1 process, 1 core" is our executor held to one core, as CsvExampleGen on
FnApiRunner uses one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from memory import resident

sys.path.pop()  # `serving` is a benchmark there.

REPO = Path(__file__).parents[2]
# Name, which ExampleGen, processes that encode (0: as it chooses), cores.
VARIANTS = (
    ("CsvExampleGen, 1 core", "stock", 1, 1),
    ("Assay, 1 process, 1 core", "ours", 1, 1),
    ("Assay, 1 process", "ours", 1, 0),
    ("Assay, 2 processes", "ours", 2, 0),
)


@dataclass(frozen=True)
class Result:
    """How an ExampleGen went.

    Attributes:
        name: Which.
        rows: Rows that were written.
        seconds: Of the executor.
        peak_mb: Resident memory of the process and its children, at most.
        grown_mb: The same without what was resident before the executor began.
        written_mb: Size of the examples.
    """

    name: str
    rows: int
    seconds: float
    peak_mb: float
    grown_mb: float
    written_mb: float


def compare(csv: Path, config: dict[str, Any]) -> list[Result]:
    """Runs every variant on one file.

    Args:
        csv: The rows.
        config: A pipeline's config, whose `data.path` is replaced.
    """
    return [measure(csv, config, variant) for variant in VARIANTS]


def measure(csv: Path, config: dict[str, Any], variant: tuple[str, str, int, int]) -> Result:
    """Runs one variant in a process of its own."""
    name, which, processes, cores = variant
    with tempfile.TemporaryDirectory(prefix="assay-ingest-") as folder:
        given = {
            "csv": str(csv.resolve()),
            "config": config,
            "which": which,
            "cores": cores,
            "out": folder,
        }
        environment = {
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "ASSAY_INGEST_PROCESSES": str(processes),
        }
        run = subprocess.run(
            [sys.executable, __file__, "--child", json.dumps(given)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=environment,
            cwd=REPO,
        )
    return Result(name, **json.loads(run.stdout.splitlines()[-1]))


def child(given: dict[str, Any]) -> None:
    """The child's work: prints a `Result` without its name as JSON."""
    from tfx.types import standard_artifacts

    examples = standard_artifacts.Examples()
    examples.uri = given["out"]
    execute = (_ours if given["which"] == "ours" else _stock)(given, examples)
    if given["cores"]:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given["cores"]])
    before = resident(os.getpid())
    peak = [before]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            peak.append(resident(os.getpid()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    execute()
    seconds = time.perf_counter() - started
    ended.set()
    watcher.join()
    with open(given["csv"], "rb") as file:
        rows = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1
    written = sum(path.stat().st_size for path in Path(given["out"]).rglob("*.gz"))
    result = Result("", rows, seconds, max(peak) / 1e6, (max(peak) - before) / 1e6, written / 1e6)
    print(json.dumps({key: value for key, value in vars(result).items() if key != "name"}))


def _ours(given: dict[str, Any], examples: Any) -> Callable[[], None]:
    from tfx_pipeline.components.example_gen.component import make_example_gen
    from tfx_pipeline.components.example_gen.executor import Executor
    from tfx_pipeline.config.pipeline import PipelineConfig

    config = given["config"]
    config = {**config, "data": {**config["data"], "path": given["csv"]}}
    node = make_example_gen(PipelineConfig.model_validate(config))
    properties = dict(node.exec_properties)
    return lambda: Executor().Do({}, {"examples": [examples]}, properties)


def _stock(given: dict[str, Any], examples: Any) -> Callable[[], None]:
    import shutil

    from tfx.components.example_gen.csv_example_gen.executor import Executor
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.proto import example_gen_pb2
    from tfx.utils import proto_utils

    source = Path(given["out"]) / "source"
    source.mkdir()
    shutil.copy(given["csv"], source / "rows.csv")
    shares = {"train": 60, "val": 7, "eval": 33}
    splits = [
        example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=share)
        for name, share in shares.items()
    ]
    split = example_gen_pb2.Input.Split(name="all", pattern="*.csv")
    properties = {
        "input_base": str(source),
        "input_config": proto_utils.proto_to_json(example_gen_pb2.Input(splits=[split])),
        "output_config": proto_utils.proto_to_json(
            example_gen_pb2.Output(split_config=example_gen_pb2.SplitConfig(splits=splits))
        ),
        "output_data_format": example_gen_pb2.FORMAT_TF_EXAMPLE,
        "output_file_format": example_gen_pb2.FORMAT_TFRECORDS_GZIP,
    }
    arguments = ["--runner=FnApiRunner", "--sdk_container_image=local"]
    context = BaseBeamExecutor.Context(beam_pipeline_args=arguments, tmp_dir=given["out"])
    return lambda: Executor(context).Do({}, {"examples": [examples]}, properties)


def show(results: list[Result]) -> str:
    """The results as a table, each beside the first."""
    heading = f"{'':28}{'rows/s':>10}{'times':>8}{'peak MB':>10}{'grown MB':>10}{'written MB':>12}"
    first = results[0].seconds
    return "\n".join([heading, *(_line(result, first) for result in results)])


def _line(result: Result, first: float) -> str:
    return (
        f"{result.name:28}{result.rows / result.seconds:>10,.0f}{first / result.seconds:>8.1f}"
        f"{result.peak_mb:>10,.0f}{result.grown_mb:>10,.0f}{result.written_mb:>12,.1f}"
    )


def main() -> int:
    import yaml

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument(
        "--config", type=Path, default=REPO / "tfx_pipeline/templates/taxi/pipeline.yaml"
    )
    parser.add_argument("--only", default="", help="variants whose name has this in it")
    given = parser.parse_args()
    config = yaml.safe_load(given.config.read_text())
    config = {key: config[key] for key in ("name", "data", "features")}
    chosen = [variant for variant in VARIANTS if given.only in variant[0]]
    print(f"{given.csv}, {given.csv.stat().st_size / 1e6:.0f} MB, {os.cpu_count()} cores")
    print(show([measure(given.csv, config, variant) for variant in chosen]))
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(json.loads(sys.argv[2]))
        raise SystemExit(0)
    raise SystemExit(main())
