"""Executors of the data path, one after the other in this process: Assay's, or plain TFX's.

Run by `benchmarks/data_path.py` as a child, which gives it a JSON; prints a JSON line of seconds
and peak memory for each stage. The executors' `Do` is timed: no imports, no scheduling, no MLMD.
"""

from __future__ import annotations

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import psutil

sys.path.append(str(Path(__file__).parents[1]))

from memory import occupied, resident

sys.path.pop()  # `serving` is a benchmark there.

Properties = dict[str, Any]
Run = Callable[[], None]


def main() -> None:
    given = json.loads(sys.argv[1])
    side = _Side(given)
    made = {
        "ingest": side.ingest,
        "statistics": side.statistics,
        "schema": side.schema,
        "validation": side.validation,
        "transform": side.transform,
        "evaluator": side.evaluator,
    }
    found = {}
    with side.running():
        for stage in given["stages"]:
            run = made[stage]()  # Imports.
            with _measured() as measured:
                run()
            found[stage] = measured
            print(f"{given['which']} {stage}: {measured}", file=sys.stderr, flush=True)
    print(json.dumps(found))


class _Side:
    """One side of the comparison: which executors run, and with which properties."""

    def __init__(self, given: dict[str, Any]) -> None:
        from tfx_pipeline.config.pipeline import PipelineConfig
        from tfx_pipeline.runners.beam.options import beam_args

        self.ours = given["which"] == "ours"
        self.folder = Path(given["out"])
        self.evaluated = Path(given["evaluated"])
        self.csv = Path(given["csv"])
        self.model = given["model"]
        config = given["config"]
        self.config = PipelineConfig.model_validate(
            {**config, "data": {**config["data"], "path": given["csv"]}}
        )
        # Plain TFX with the two options without which it would take still longer.
        plain = ["--runner=FnApiRunner", "--sdk_container_image=local"]
        self.args = beam_args(self.config) if self.ours else plain

    def running(self) -> AbstractContextManager[None]:
        """Around all stages: what `assay run` has around its nodes."""
        if not self.ours:
            return nullcontext()
        from apache_beam.options.pipeline_options import PipelineOptions

        from tfx_pipeline.runners.beam.local import workers

        return workers.expected(workers.Helpers.of(PipelineOptions(self.args)))

    def ingest(self) -> Run:
        from tfx.types import standard_artifacts

        examples = self._artifact(standard_artifacts.Examples, "examples")
        if self.ours:
            from tfx_pipeline.components.example_gen.component import make_example_gen
            from tfx_pipeline.components.example_gen.executor import Executor as Ours

            properties = dict(make_example_gen(self.config).exec_properties)
            return lambda: Ours().Do({}, {"examples": [examples]}, properties)
        from tfx.components.example_gen.csv_example_gen.executor import Executor
        from tfx.proto import example_gen_pb2
        from tfx.utils import proto_utils

        source = self.folder / "source"
        source.mkdir()
        (source / "rows.csv").symlink_to(self.csv.resolve())
        one = example_gen_pb2.Input(splits=[{"name": "rows", "pattern": "*.csv"}])
        parts = [{"name": "train", "hash_buckets": 67}, {"name": "eval", "hash_buckets": 33}]
        output = example_gen_pb2.Output(split_config={"splits": parts})
        properties = {
            "input_base": str(source),
            "input_config": proto_utils.proto_to_json(one),
            "output_config": proto_utils.proto_to_json(output),
            "output_data_format": example_gen_pb2.FORMAT_TF_EXAMPLE,
            "output_file_format": 5,  # FORMAT_TFRECORDS_GZIP
        }
        return lambda: Executor(self._context()).Do({}, {"examples": [examples]}, properties)

    def statistics(self) -> Run:
        from tfx.types import standard_artifacts

        if self.ours:
            from tfx_pipeline.components.statistics_gen.executor import Executor
        else:
            from tfx.components.statistics_gen.executor import Executor

        out = self._artifact(standard_artifacts.ExampleStatistics, "statistics")
        return lambda: Executor(self._context()).Do(
            {"examples": [self._examples()]}, {"statistics": [out]}, {"exclude_splits": "[]"}
        )

    def schema(self) -> Run:
        from tfx.components.schema_gen.executor import Executor
        from tfx.types import standard_artifacts

        out = self._artifact(standard_artifacts.Schema, "schema")
        # With shapes, a column without gaps is dense on either side.
        properties = {"infer_feature_shape": 1, "exclude_splits": "[]"}
        return lambda: Executor().Do(
            {"statistics": [self._statistics()]}, {"schema": [out]}, properties
        )

    def validation(self) -> Run:
        from tfx.components.example_validator.executor import Executor
        from tfx.types import standard_artifacts

        out = self._artifact(standard_artifacts.ExampleAnomalies, "anomalies")
        return lambda: Executor().Do(
            {"statistics": [self._statistics()], "schema": [self._schema()]},
            {"anomalies": [out]},
            {"exclude_splits": "[]"},
        )

    def transform(self) -> Run:
        from google.protobuf import json_format
        from tfx.components.transform.executor import Executor as Stock
        from tfx.proto import transform_pb2
        from tfx.types import standard_artifacts as kinds

        from transform.executor import Executor as Ours

        val = ["val"] if self.ours and self.config.data.split.has_val else []
        splits = transform_pb2.SplitsConfig(analyze=["train"], transform=["train", *val])
        custom = {"transform": self.config.transform.model_dump(mode="json")}
        properties = {
            "preprocessing_fn": "transform.preprocessing.preprocessing_fn",
            "custom_config": json.dumps(custom),
            "disable_statistics": int(self.ours),
            "force_tf_compat_v1": 0,
            "splits_config": json_format.MessageToJson(splits),
        }
        outputs = {
            "transform_graph": kinds.TransformGraph,
            "transformed_examples": kinds.Examples,
            "updated_analyzer_cache": kinds.TransformCache,
        }
        if not self.ours:
            # As they come: both splits, and statistics before and after.
            del properties["splits_config"]
            outputs |= {
                "pre_transform_schema": kinds.Schema,
                "pre_transform_stats": kinds.ExampleStatistics,
                "post_transform_schema": kinds.Schema,
                "post_transform_stats": kinds.ExampleStatistics,
                "post_transform_anomalies": kinds.ExampleAnomalies,
            }
        made = {key: [self._artifact(kind, key)] for key, kind in outputs.items()}
        executor = Ours if self.ours else Stock
        return lambda: executor(self._context()).Do(
            {"examples": [self._examples()], "schema": [self._schema()]}, made, properties
        )

    def evaluator(self) -> Run:
        from tfx.types import standard_artifacts as kinds
        from tfx.utils import proto_utils

        from tfx_pipeline.gates.eval_config import eval_config

        wanted = eval_config(self.config)
        properties: Properties = {"example_splits": '["eval"]', "fairness_indicator_thresholds": ""}
        if self.ours:
            from tfx_pipeline.components.evaluator.executor import GATE_KEY, Executor

            gate = self.config.gates.quality.of_float.model_dump_json()
            properties[GATE_KEY] = gate
        else:
            from tfx.components.evaluator.executor import Executor

            # TFMA's own metrics of the same things, for the same slices.
            del wanted.metrics_specs[:]
            spec = wanted.metrics_specs.add()
            for name in ("AUC", "BinaryAccuracy", "BinaryCrossentropy", "ExampleCount"):
                spec.metrics.add(class_name=name)
        properties["eval_config"] = proto_utils.proto_to_json(wanted)
        model = kinds.Model()
        model.uri = self.model
        made = {
            "evaluation": [self._artifact(kinds.ModelEvaluation, "evaluation")],
            "blessing": [self._artifact(kinds.ModelBlessing, "blessing")],
        }
        self.folder = self.evaluated
        inputs = {"examples": [self._examples()], "model": [model], "schema": [self._schema()]}
        return lambda: Executor(self._context()).Do(inputs, made, properties)

    def _context(self) -> Any:
        from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

        return BaseBeamExecutor.Context(
            beam_pipeline_args=self.args, tmp_dir=str(self.folder / "tmp"), unique_id="1"
        )

    def _artifact(self, kind: Any, name: str) -> Any:
        artifact = kind()
        artifact.uri = str(self.folder / name)
        shutil.rmtree(artifact.uri, ignore_errors=True)
        Path(artifact.uri).mkdir(parents=True)
        return artifact

    def _of_splits(self, kind: Any, name: str) -> Any:
        from tfx.types import artifact_utils

        artifact = kind()
        artifact.uri = str(self.folder / name)
        splits = [path.name.removeprefix("Split-") for path in Path(artifact.uri).glob("Split-*")]
        artifact.split_names = artifact_utils.encode_split_names(sorted(splits))
        return artifact

    def _examples(self) -> Any:
        from tfx.components.util import examples_utils
        from tfx.proto import example_gen_pb2
        from tfx.types import standard_artifacts

        examples = self._of_splits(standard_artifacts.Examples, "examples")
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, "tfrecords_gzip")
        return examples

    def _statistics(self) -> Any:
        from tfx.types import standard_artifacts

        return self._of_splits(standard_artifacts.ExampleStatistics, "statistics")

    def _schema(self) -> Any:
        from tfx.types import standard_artifacts

        schema = standard_artifacts.Schema()
        schema.uri = str(self.folder / "schema")
        return schema


@contextmanager
def _measured() -> Iterator[dict[str, float]]:
    """Seconds of a block, on the clock and of the processor, and the peak of memory so far."""
    measured: dict[str, float] = {}
    ways = {"peak_mb": occupied, "peak_resident_mb": resident}
    peaks = {name: way(os.getpid()) for name, way in ways.items()}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.25):
            for name, way in ways.items():
                peaks[name] = max(peaks[name], way(os.getpid()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started, busy = time.perf_counter(), _busy()
    try:
        yield measured
    finally:
        measured["seconds"] = time.perf_counter() - started
        measured["cpu_seconds"] = _busy() - busy
        ended.set()
        watcher.join()
        measured |= {name: peak / 1e6 for name, peak in peaks.items()}


def _busy() -> float:
    """Seconds of the processor, of this process and all that it has started."""
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            used = child.cpu_times()
            total += used.user + used.system
    return total


if __name__ == "__main__":
    main()
