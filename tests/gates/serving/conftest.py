"""A trained model with real transform graph and examples, its faulty relatives, and a server."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import Transformed, config_of, rows, serialize, transform
from tfx_pipeline.gates.serving.rows import HeldOut, held_out
from tfx_pipeline.gates.serving.servers import ModelServer, model_server
from tfx_pipeline.gates.serving.settings import Settings
from tfx_pipeline.gates.serving.skew import Trained
from transform.config import storage_types

SPLITS = {"train": 300, "val": 120, "eval": 400}
QUICK = Settings(
    binary="",
    pairs=3,
    block_s=0.03,
    rate_trial_s=0.03,
    resamples=60,
    skew_rows=100,
)
Export = Callable[..., Path]


@dataclass(frozen=True)
class World:
    """One data set, transformed by TFT, with raw examples beside the transformed ones."""

    transformed: Transformed
    raw: Path
    keras_model: Path
    float_model: Path

    @property
    def trained(self) -> Trained:
        return Trained(
            self.keras_model,
            Path(self.transformed.graph),
            self.raw,
            self.transformed.folder,
            self.transformed.config,
        )

    def rows(self, *slices: list[str]) -> HeldOut:
        return held_out(self.raw / "Split-eval", self.float_model, slices)


def build(world_config: Any, graph: str, *, sign: float = 1.0, loops: int = 0) -> Any:
    """A Keras model with weights that fit the data; `loops` products of matrices for nothing."""
    import tensorflow_transform as tft
    import tf_keras

    from transform.layout import layout

    specs = layout(world_config, tft.TFTransformOutput(graph))
    inputs = {}
    for spec in specs:
        dtype = "int64" if spec.kind in ("ids", "bag") else "float32"
        inputs[spec.name] = tf_keras.Input(spec.shape, name=spec.name, dtype=dtype)
        if spec.weights:
            inputs[spec.weights] = tf_keras.Input(spec.shape, name=spec.weights)
    score = inputs["size_xf"]
    for _ in range(loops):
        score = tf_keras.layers.Lambda(_waste)(score)
    shop = next(spec for spec in specs if spec.kind == "ids")
    weights = np.random.default_rng(5).normal(0, 0.3, (shop.size, 1)).astype(np.float32)
    by_shop = tf_keras.layers.Embedding(shop.size, 1)(inputs[shop.name])
    both = tf_keras.layers.Add()([score, tf_keras.layers.Flatten()(by_shop)])
    output = tf_keras.layers.Dense(1, "sigmoid")(both)
    model = tf_keras.Model(inputs, output)
    embedding = next(x for x in model.layers if isinstance(x, tf_keras.layers.Embedding))
    embedding.set_weights([weights])
    model.layers[-1].set_weights([np.full((1, 1), 2.0 * sign, np.float32), np.zeros(1, np.float32)])
    return model


def _waste(score: Any) -> Any:
    import tensorflow as tf

    square = tf.ones([900, 900]) * tf.reduce_mean(score)
    return score + 0.0 * tf.reduce_mean(tf.matmul(square, square))


def world_of(folder: Path, label: dict[str, Any], make: Callable[[Any, str], Any]) -> World:
    """Data with this label, and the float model that `make(config, transform graph)` gives."""
    from trainer.export import save_keras

    config = config_of(label)
    raw = {split: rows(count, seed) for seed, (split, count) in enumerate(SPLITS.items())}
    made = transform(folder / "transformed", config, raw)
    _write_raw(folder / "raw", made)
    keras_model = folder / "keras_model.h5"
    model = make(config, made.graph)
    save_keras(model, str(keras_model))
    export_model(model, made, folder / "float")
    return World(made, folder / "raw", keras_model, folder / "float")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    label = {"column": "sold", "task": "binary", "classes": ["no", "yes"]}
    return world_of(tmp_path_factory.mktemp("world"), label, build)


@pytest.fixture(scope="session")
def export(world: World, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Exports a relative of the float model, once a session for each."""
    root = tmp_path_factory.mktemp("relatives")

    def make(name: str, *, fault: str = "", **changes: Any) -> Path:
        folder = root / name
        if folder.exists():
            return folder
        if changes:
            model = build(world.transformed.config, world.transformed.graph, **changes)
            export_model(model, world.transformed, folder)
        else:
            shutil.copytree(world.float_model, folder)
        if fault:
            (folder / f"fault_{fault}").touch()
        return folder

    return make


@pytest.fixture(scope="session")
def other(world: World, tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """The transform graph of other rows: their `size` has other moments."""
    columns = rows(SPLITS["train"], 0)
    columns["size"] = 1.1 * columns["size"]
    config = world.transformed.config
    return transform(tmp_path_factory.mktemp("other") / "graph", config, {"train": columns})


@pytest.fixture(scope="session")
def skewed(world: World, other: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float model behind another transform graph than it was trained with."""
    folder = tmp_path_factory.mktemp("skewed")
    model = build(world.transformed.config, world.transformed.graph)
    export_model(model, other, folder / "model")
    return folder / "model"


@pytest.fixture(scope="session")
def server() -> Iterator[ModelServer]:
    """A server of ours, which every test may tell to load more models."""
    with model_server(QUICK) as running:
        yield running


@pytest.fixture
def faulty_settings(tmp_path: Path) -> Settings:
    """Settings whose model server is the failing one."""
    script = Path(__file__).with_name("failing_server.py")
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} {script} --grpc_front=h2 "$@"\n')
    binary.chmod(0o755)
    return replace(QUICK, binary=str(binary), request_timeout_s=3.0)


def export_pair(model: Any, made: Transformed, folder: Path) -> None:
    """A model whose one input is `size_xf`, with the TFLite core that belongs to it."""
    import tensorflow as tf
    import tensorflow_transform as tft

    from trainer.compression.candidate import Compressed
    from trainer.compression.pair import DESCRIPTION_FILE, describe
    from trainer.export import export
    from transform.layout import layout

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="size_xf")])
    def core(size_xf: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"predictions": model({"size_xf": size_xf})}

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [core.get_concrete_function()], model
    )
    content = converter.convert()
    output = tft.TFTransformOutput(made.graph)
    extra = {
        "core.tflite": content,
        Path(DESCRIPTION_FILE).name: describe(content, Compressed(model)),
    }
    specs = layout(made.config, output)
    export(model, output, specs, made.config, str(folder), core_signatures=True, extra=extra)


def export_model(model: Any, made: Transformed, folder: Path) -> None:
    """A SavedModel without a core."""
    import tensorflow_transform as tft

    from trainer.export import export
    from transform.layout import layout

    output = tft.TFTransformOutput(made.graph)
    export(model, output, layout(made.config, output), made.config, str(folder))


def _write_raw(folder: Path, made: Transformed) -> None:
    import tensorflow as tf

    types = storage_types(made.config)
    for split, columns in made.raw.items():
        path = folder / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"
        path.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for row in range(SPLITS[split]):
                values = {name: columns[name][row] for name in types}
                writer.write(serialize(values, types))
