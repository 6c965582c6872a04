"""Transformed data made by TFT itself, once a session, and the `fn_args` to train on them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from tfx_pipeline.runners.beam.options import LOCAL_RUNNER
from trainer.config import ModelConfig, TrainConfig
from transform.config import TransformConfig, storage_types

Columns = Mapping[str, np.ndarray]
_DTYPES = {"float": "float32", "int": "int64", "bytes": "string"}


@dataclass(frozen=True)
class Transformed:
    """TFT output and transformed splits of one data set, with the raw rows they came from."""

    config: TransformConfig
    folder: Path
    raw: dict[str, Columns]

    @property
    def graph(self) -> str:
        return str(self.folder / "graph")

    def files(self, split: str) -> list[str]:
        return [str(self.folder / f"Split-{split}" / "*")]

    def fn_args(self, where: Path, model: ModelConfig, train: TrainConfig, **more: Any) -> Any:
        """What the stock Trainer would pass, with the splits train and val."""
        from tfx.components.trainer.fn_args_utils import FnArgs

        custom = {
            "transform": self.config.model_dump(mode="json"),
            "model": model.model_dump(mode="json"),
            "train": train.model_dump(mode="json"),
        }
        values = {
            "train_files": self.files("train"),
            "eval_files": self.files("val"),
            "transform_graph_path": self.graph,
            "serving_model_dir": str(where / "model" / "Format-Serving"),
            "model_run_dir": str(where / "model_run"),
            "custom_config": custom,
        }
        return FnArgs(**(values | more))

    def examples(self, split: str, rows: int, *, label: bool) -> list[bytes]:
        """The first raw rows as serialized tf.Examples."""
        types = storage_types(self.config)
        if not label:
            types.pop(self.config.label.column)
        columns = self.raw[split]
        return [serialize({name: columns[name][i] for name in types}, types) for i in range(rows)]


def serialize(row: Mapping[str, Any], types: Mapping[str, str]) -> bytes:
    import tensorflow as tf

    example = tf.train.Example()
    for name, value in row.items():
        feature = example.features.feature[name]
        match types[name]:
            case "float":
                feature.float_list.value.append(float(value))
            case "int":
                feature.int64_list.value.append(int(value))
            case _:
                data = value if isinstance(value, bytes) else str(value).encode()
                feature.bytes_list.value.append(data)
    return example.SerializeToString()


def transform(folder: Path, config: TransformConfig, raw: dict[str, Columns]) -> Transformed:
    """Analyzes `train` with TFT on Beam, and writes the transformed splits as TFX would."""
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from tensorflow_transform.tf_metadata import metadata_io

    from transform.preprocessing import preprocessing_fn

    types = storage_types(config)
    spec = {name: tf.io.FixedLenFeature([1], _DTYPES[kind]) for name, kind in types.items()}
    metadata = tft.DatasetMetadata.from_feature_spec(spec)
    function = partial(
        preprocessing_fn, custom_config={"transform": config.model_dump(mode="json")}
    )
    rows = [
        {name: raw["train"][name][i : i + 1] for name in types}
        for i in range(len(raw["train"][config.label.column]))
    ]
    options = PipelineOptions([f"--runner={LOCAL_RUNNER}"])
    with (
        beam.Pipeline(options=options) as pipeline,
        tft_beam.Context(temp_dir=str(folder / "tmp")),
    ):
        data = pipeline | beam.Create(rows)
        graph = (data, metadata) | tft_beam.AnalyzeDataset(function)
        graph | tft_beam.WriteTransformFn(str(folder / "graph"))
    metadata_io.write_metadata(metadata, str(folder / "graph" / "metadata"))
    layer = tft.TFTransformOutput(str(folder / "graph")).transform_features_layer()
    for split, columns in raw.items():
        count = len(columns[config.label.column])
        serialized = [serialize({n: columns[n][i] for n in types}, types) for i in range(count)]
        write(folder / f"Split-{split}", layer(tf.io.parse_example(serialized, spec)), count)
    return Transformed(config, folder, raw)


def write(folder: Path, features: Mapping[str, Any], rows: int) -> None:
    """Writes transformed features as one gzipped TFRecord file."""
    import tensorflow as tf

    folder.mkdir(parents=True)
    arrays = {
        name: tf.RaggedTensor.from_sparse(t).to_list()
        if isinstance(t, tf.SparseTensor)
        else t.numpy()
        for name, t in features.items()
    }
    path = str(folder / "transformed_examples-00000-of-00001.gz")
    with tf.io.TFRecordWriter(path, options="GZIP") as writer:
        for i in range(rows):
            example = tf.train.Example()
            for name, values in arrays.items():
                row = np.asarray(values[i]).ravel()
                feature = example.features.feature[name]
                if features[name].dtype == tf.int64:
                    feature.int64_list.value.extend(row.astype(np.int64).tolist())
                else:
                    feature.float_list.value.extend(row.tolist())
            writer.write(example.SerializeToString())


def rows(count: int, seed: int) -> dict[str, np.ndarray]:
    """Raw rows whose labels follow from their columns: what a model must find."""
    rng = np.random.default_rng(seed)
    size = rng.normal(50.0, 10.0, count).astype(np.float32)
    speed = rng.normal(0.0, 1.0, count).astype(np.float32)
    shop = rng.integers(0, 12, count)
    mood = rng.choice(["good", "bad"], count)
    score = (size - 50.0) / 10.0 + np.where(shop < 6, 1.5, -1.5) + np.where(mood == "good", 1, -1)
    return {
        "size": size,
        "speed (km/h)": speed,
        "my shop": np.array([f"shop{i}" for i in shop]),
        "review": np.array([f"very {word} indeed" for word in mood]),
        "grade": np.where(score > 1.0, "high", np.where(score < -1.0, "low", "middle")),
        "sold": np.where(score > 0, "yes", "no"),
        "price": (250_000.0 + 40_000.0 * score).astype(np.float32),
    }


def config_of(label: dict[str, Any]) -> TransformConfig:
    columns = {
        "size": {"kind": "numeric"},
        "speed (km/h)": {"kind": "numeric", "buckets": 4},
        "my shop": {"kind": "categorical"},
        "review": {"kind": "text"},
    }
    return TransformConfig.model_validate({"features": {"columns": columns}, "label": label})


def _transformed(factory: pytest.TempPathFactory, label: dict[str, Any]) -> Transformed:
    """Once for all of pytest-xdist's processes: the folder of each is in that of the session."""
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "transformed"
    folder, unfinished = shared / label["task"], shared / f"{label['task']}.unfinished"
    shared.mkdir(exist_ok=True)
    splits = {"train": rows(1500, 1), "val": rows(200, 2), "eval": rows(200, 3)}
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            transform(unfinished, config_of(label), splits)
            unfinished.rename(folder)
    return Transformed(config_of(label), folder, splits)


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    label = {"column": "sold", "task": "binary", "classes": ["no", "yes"]}
    return _transformed(tmp_path_factory, label)


@pytest.fixture(scope="session")
def multiclass(tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    classes = ["low", "middle", "high"]
    label = {"column": "grade", "task": "multiclass", "classes": classes}
    return _transformed(tmp_path_factory, label)


@pytest.fixture(scope="session")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    return _transformed(tmp_path_factory, {"column": "price", "task": "regression"})


_USERS_RUN_FN = """
import tf_keras

@tf_keras.saving.register_keras_serializable("users")
class Twice(tf_keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs

def run_fn(fn_args):
    x = tf_keras.Input((1,), name="x")
    tf_keras.Model({"x": x}, Twice()(x)).save(fn_args)
"""


@pytest.fixture
def users_model(tmp_path: Path) -> Path:
    """What `mine.py:run_fn` saved, of whose layer this process knows no longer; beside it."""
    import tf_keras

    from transform.user_code import load

    (tmp_path / "mine.py").write_text(_USERS_RUN_FN)
    path = tmp_path / "keras_model.h5"
    run_fn = load("mine.py:run_fn", tmp_path)
    with warnings.catch_warnings(action="ignore"):  # HDF5 is a legacy format.
        run_fn(str(path))
    del sys.modules[run_fn.__module__]
    del tf_keras.saving.get_custom_objects()["users>Twice"]
    return path
