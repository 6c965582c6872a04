"""A small project on disk, and the command line called in this process."""

from __future__ import annotations

import contextlib
import csv
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tfx_pipeline.config import PipelineConfig, load_config
from tfx_pipeline.errors import INTERRUPTED_EXIT_CODE, AssayError
from tfx_pipeline.report import record as records
from tfx_pipeline.report.record import RunRecord

# As in the taxi template, with a column of each kind that the graph treats in its own way.
TAXI: dict[str, Any] = {
    "name": "small",
    "data": {
        "path": "data.csv",
        "label": {"column": "tips", "task": "binary", "above": 0.2, "of": "fare"},
    },
    "features": {
        "columns": {
            "fare": {"kind": "numeric", "log": True},
            "trip_miles": {"kind": "numeric", "buckets": 4},
            "payment_type": {"kind": "categorical"},
            "company": {"kind": "categorical", "max_values": 20},
        }
    },
    "model": {"hidden_units": [16], "dropout": 0.1},
    "train": {"steps": 40, "steps_per_epoch": 20, "batch_size": 64, "learning_rate": 0.01},
    "gates": {
        "quality": {
            "thresholds": [{"metric": "auc", "min": 0.6, "max_regression": 0.2}],
            "slices": [["payment_type"]],
        }
    },
    "run": {"memory_per_node_mb": 1},
}

NODES = [
    "ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "DataGate", "AnalyzerCache",
    "Transform", "Trainer", "LatestBlessedModel", "Evaluator", "Pusher",
]  # fmt: skip
RESOLVERS = {"AnalyzerCache", "LatestBlessedModel"}


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code, and all that it put on the terminal."""

    code: int
    terminal: str

    @property
    def lines(self) -> list[str]:
        """The terminal's lines that hold anything."""
        return [line for line in self.terminal.splitlines() if line.strip()]


@dataclass(frozen=True)
class Project:
    """A folder with a pipeline.yaml."""

    folder: Path

    @property
    def config(self) -> PipelineConfig:
        """The config as it is on disk now."""
        return load_config(self.folder)

    @property
    def database(self) -> Path:
        """The SQLite file of MLMD."""
        return self.config.root / "metadata.db"

    def change(self, path: str, value: Any) -> None:
        """Sets one field: `train.steps`."""
        document = yaml.safe_load((self.folder / "pipeline.yaml").read_text())
        *sections, name = path.split(".")
        section = document
        for key in sections:
            section = section.setdefault(key, {})
        section[name] = value
        (self.folder / "pipeline.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    @contextlib.contextmanager
    def changed(self, fields: dict[str, Any]) -> Iterator[None]:
        """Has some fields of its config set, as long as the block lasts."""
        path = self.folder / "pipeline.yaml"
        before = path.read_text()
        for field, value in fields.items():
            self.change(field, value)
        try:
            yield
        finally:
            path.write_text(before)

    def assay(self, *words: str) -> Result:
        """Calls `assay WORDS FOLDER` here."""
        return assay(*words, str(self.folder))

    def run(self, *options: str) -> RunRecord:
        """`assay run`, which must end well; its record."""
        result = self.assay("run", *options)
        assert result.code == 0, result.terminal
        return self.latest

    @property
    def latest(self) -> RunRecord:
        """The record of the newest run."""
        return records.load(self.config.root, "latest")

    @property
    def runs(self) -> list[str]:
        """Ids of the runs that were begun."""
        return records.run_ids(self.folder / "runs")

    @property
    def versions(self) -> list[Path]:
        """Everything below the folder that models are pushed to."""
        push_dir = self.config.push_dir
        return sorted(push_dir.iterdir()) if push_dir.is_dir() else []


def make_project(folder: Path, rows: Path, document: dict[str, Any] | None = None) -> Project:
    """Writes pipeline.yaml and data.csv into a new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(document or TAXI, sort_keys=False)
    (folder / "pipeline.yaml").write_text(text)
    (folder / "data.csv").write_bytes(rows.read_bytes())
    return Project(folder)


def head(source: Path, target: Path, rows: int) -> Path:
    """The first rows of a CSV as a file of its own."""
    with source.open(newline="") as file:
        lines = [line for _, line in zip(range(rows + 1), csv.reader(file), strict=False)]
    with target.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return target


def assay(*words: str) -> Result:
    """Calls the command line in this process, as `tfx_pipeline.cli.main.main` does."""
    from tfx_pipeline.cli.main import app, show_error

    code = 0
    with terminal() as written:
        try:
            app(list(words), standalone_mode=False)
        except AssayError as error:
            show_error(error)
            code = error.exit_code
        except KeyboardInterrupt:
            code = INTERRUPTED_EXIT_CODE
    return Result(code, written.read_text(errors="replace"))


@contextlib.contextmanager
def terminal() -> Iterator[Path]:
    """Collects what reaches the descriptors 1 and 2, from C++ and child processes too."""
    descriptor, name = tempfile.mkstemp(prefix="assay-terminal-")
    saved = os.dup(1), os.dup(2)
    streams = sys.stdout, sys.stderr
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = sys.stderr = os.fdopen(os.dup(descriptor), "w", buffering=1)
    path = Path(name)
    try:
        yield path
    finally:
        sys.stdout.close()
        sys.stdout, sys.stderr = streams
        for number, kept in zip((1, 2), saved, strict=True):
            os.dup2(kept, number)
            os.close(kept)
        os.close(descriptor)


def states(record: RunRecord) -> dict[str, str]:
    """State of every node."""
    return {name: node.state for name, node in record.nodes.items()}


def uri(record: RunRecord, node: str, key: str) -> Path:
    """Where a node's artifact lies."""
    [artifact] = record.nodes[node].artifacts[key]
    return Path(artifact.uri)


def weights(model: Path) -> dict[str, bytes]:
    """Every variable of a SavedModel, to the bit."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(model / "variables" / "variables"))
    return {name: bytes(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}
