"""A small table with every kind of feature, and the Transform executor run over it."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transform.config import TransformConfig, storage_types

RUNNER = "tfx_pipeline.runners.beam.local.runner.LocalRunner"

CONFIG = TransformConfig.model_validate(
    {
        "features": {
            "columns": {
                "plain": {"kind": "numeric"},
                "gaps": {"kind": "numeric", "missing_indicator": True},
                "constant": {"kind": "numeric"},
                "empty": {"kind": "numeric"},
                "long_tail": {"kind": "numeric", "log": True, "scale": "none"},
                "bounded": {"kind": "numeric", "scale": "minmax"},
                "bucketed": {"kind": "numeric", "buckets": 4},
                "city": {"kind": "categorical", "max_values": 3, "oov_buckets": 2},
                "rare": {"kind": "categorical", "min_count": 5},
                "user.id": {"kind": "categorical"},
                "user_id": {"kind": "categorical"},
                "hashed": {"kind": "categorical", "encoding": "hash", "hash_buckets": 7},
                "level": {"kind": "categorical", "encoding": "identity", "max_values": 4},
                "day": {"kind": "date", "parts": ["weekday", "year"]},
                "stamp": {"kind": "date", "unit": "seconds", "parts": ["hour", "month"]},
                "review": {"kind": "text", "ngrams": 2, "min_count": 2},
                "note": {"kind": "text", "weight": "count", "min_count": 1, "max_tokens": 50},
                "ordered": {"kind": "text", "output": "sequence", "max_length": 3, "max_tokens": 2},
                "signal": {"kind": "series", "length": 3, "channels": 2},
                "photo": {"kind": "image", "height_px": 4, "width_px": 6, "channels": 3},
            },
            "crosses": [{"columns": ["city", "hashed"], "hash_buckets": 11}],
        },
        "label": {"column": "kind", "task": "multiclass", "classes": ["a", "b", "c"]},
        "missing_values": ["?", "n/a", "-999"],
    }
)

Row = dict[str, Any]


def table(rows: int) -> list[Row]:
    """Rows whose every value follows from their number; None is missing."""
    from PIL import Image

    def photo(number: int) -> bytes:
        pixels = np.full((8, 12, 3), number * 5 % 256, np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return [
        {
            "plain": 3.0 * i - 20.0,
            "gaps": None if i % 4 == 0 else (math.inf if i % 13 == 0 else float(i)),
            "constant": 0.1,
            "empty": None if i else math.nan,
            "long_tail": float((-1) ** i * 10 ** (i % 6)),
            "bounded": float(i % 10),
            "bucketed": None if i % 7 == 3 else float(i),
            "city": [None, "Rome", "Rome", "Rome", "Oslo", "Oslo", "Bern", "Ulm"][i % 8],
            "rare": "often" if i % 2 else f"once {i}",
            "user.id": ["ann", "ann", "bob"][i % 3],
            "user_id": ["x", "y", "y"][i % 3],
            "hashed": f"key {i % 5}",
            "level": [0, 1, 2, 3, 4, -1, None][i % 7],
            "day": ["2024-02-29", "1969-12-31T23:59:59Z", "2023-02-29", None][i % 4],
            "stamp": 1_700_000_000 + 7_777 * i,
            "review": [
                "A good film, a GOOD film!",
                "not good",
                "Ein schöner Tag",
                None,
                "schöner film",
            ][i % 5],
            "note": "x y y" if i % 2 else f"z{i} x",
            "ordered": ["b a", "A, a! b a a", None, "b z a"][i % 4],
            "signal": None if i % 5 == 4 else f"{i} {-2 * i}, {i + 1};;{'x' if i % 2 else ''}",
            "photo": None if i % 9 == 0 else photo(i),
            "kind": "abc"[i % 3],
        }
        for i in range(rows)
    ]


def serialize(row: Row, config: TransformConfig = CONFIG) -> bytes:
    """A row as a tf.Example of the types that the config stores; missing is an empty feature."""
    import tensorflow as tf

    features = {}
    for name, kind in storage_types(config).items():
        if name not in row:
            continue
        value = row[name]
        values = [] if value is None else [value]
        if kind == "float":
            feature = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        elif kind == "int":
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        else:
            encoded = [v if isinstance(v, bytes) else v.encode() for v in values]
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
        features[name] = feature
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@dataclass(frozen=True)
class Transformed:
    """What an executor left: its output, the materialized features, the folder of its artifacts."""

    output: Any
    features: dict[str, Any]
    folder: Path

    @property
    def rows(self) -> list[Row]:
        """The rows that were transformed."""
        return table(60)


def write_split(folder: Path, split: str, rows: list[Row], span: str = "") -> None:
    """Writes rows as ExampleGen does: gzipped tf.Examples in `<folder>/examples/Split-<split>`, of
    a span if there are several."""
    import tensorflow as tf

    name = f"data_tfrecord{span and '-' + span}-00000-of-00001.gz"
    path = folder / "examples" / f"Split-{split}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for row in rows:
            writer.write(serialize(row))


def write_schema(folder: Path, rows: list[Row]) -> None:
    """Writes the schema that SchemaGen would infer, with shapes, to `<folder>/schema`."""
    import tfx.v1  # noqa: F401  # before TFDV: it stands in for a module that TFDV wants

    import tensorflow_data_validation as tfdv  # isort: skip
    from tensorflow_data_validation.statistics import stats_impl  # isort: skip
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    batch = ExamplesToRecordBatchDecoder().DecodeBatch([serialize(row) for row in rows])
    statistics = stats_impl.generate_statistics_in_memory(batch)
    (folder / "schema").mkdir()
    inferred = tfdv.infer_schema(statistics, infer_feature_shape=True)
    tfdv.write_schema_text(inferred, str(folder / "schema" / "schema.pbtxt"))


def run_executor(
    executor: type,
    folder: Path,
    name: str,
    cache: Path | None = None,
    *,
    runner: str = RUNNER,
    config: TransformConfig = CONFIG,
    processes: int = 1,
) -> Transformed:
    """Runs a Transform executor on a folder's examples and schema.

    Args:
        executor: Class of the executor.
        folder: Holds `examples` and `schema`.
        name: Folder inside of it for the outputs.
        cache: Analyzer cache to read.
        runner: Of its Beam job.
        config: What the features are.
        processes: How many read rows.

    Returns:
        Its output; the features are those of the eval split, in the order of the rows.
    """
    import tensorflow as tf
    import tensorflow_transform as tft
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.types import artifact_utils
    from tfx.types.standard_artifacts import Examples, Schema, TransformCache, TransformGraph

    def artifact(kind: type, path: Path) -> list[Any]:
        made = kind()
        made.uri = str(path)
        path.mkdir(parents=True, exist_ok=True)
        if kind is Examples:
            made.split_names = artifact_utils.encode_split_names(["train", "eval"])
        return [made]

    out = folder / name
    inputs = {
        "examples": artifact(Examples, folder / "examples"),
        "schema": artifact(Schema, folder / "schema"),
    }
    if cache is not None:
        inputs["analyzer_cache"] = artifact(TransformCache, cache)
    context = BaseBeamExecutor.Context(
        beam_pipeline_args=[
            f"--runner={runner}",
            f"--local_processes={processes}",
            "--sdk_container_image=local",
        ],
        tmp_dir=str(out / "tmp"),
        unique_id="1",
    )
    executor(context).Do(
        inputs,
        {
            "transform_graph": artifact(TransformGraph, out / "graph"),
            "transformed_examples": artifact(Examples, out / "transformed"),
            "updated_analyzer_cache": artifact(TransformCache, out / "cache"),
        },
        {
            "preprocessing_fn": "transform.preprocessing.preprocessing_fn",
            "custom_config": json.dumps({"transform": config.model_dump(mode="json")}),
            "disable_statistics": 1,
            "force_tf_compat_v1": 0,
        },
    )
    output = tft.TFTransformOutput(str(out / "graph"))
    files = sorted(map(str, (out / "transformed" / "Split-eval").glob("*.gz")))
    records = list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())
    return Transformed(output, tf.io.parse_example(records, output.transformed_feature_spec()), out)
