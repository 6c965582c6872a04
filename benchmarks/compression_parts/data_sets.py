"""The projects that benchmarks/compression.py runs: data, config, and the figures asked of each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

_ADULT_COLUMNS = [
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status"),
    *("occupation", "relationship", "race", "sex", "capital_gain", "capital_loss"),
    *("hours_per_week", "native_country", "income"),
]
_ADULT_NUMBERS = ("age", "fnlwgt", "education_num", "hours_per_week")
_ADULT_LOGS = ("capital_gain", "capital_loss")


@dataclass(frozen=True)
class Asked:
    """A figure that one candidate is to reach.

    Attributes:
        candidate: Its name.
        what: As `report.figures` names it.
        at_most: The bound.
    """

    candidate: str
    what: str
    at_most: float


@dataclass(frozen=True)
class DataSet:
    """One project.

    Attributes:
        title: For the table.
        write: Fills an empty folder with pipeline.yaml and the data.
        asked: The figures to reach.
        needs: A file that has to be there.
    """

    title: str
    write: Callable[[Path], None]
    asked: list[Asked] = field(default_factory=list)
    needs: Path | None = None


def tabular_ladder(student: list[int], steps: int) -> list[dict[str, Any]]:
    """One candidate of each kind that the issue gives a figure for, and the usual combinations."""
    return [
        {"method": "int8"},
        {"method": "float16"},
        {"method": "dynamic_range"},
        {"method": "qat", "steps": steps},
        {"method": "prune", "sparsity": 0.8, "steps": steps},
        {"method": "int8", "of": "prune_80"},
        {"method": "cluster", "clusters": 16, "steps": steps},
        {"method": "prune_qat", "sparsity": 0.8, "steps": steps},
        {"method": "distill", "hidden_units": student, "steps": 4 * steps},
        {"method": "int8", "of": "student"},
    ]


# The convolutions of Keras's MNIST example, with a Dense layer behind them. With 16 filters and
# fewer, as the model family `dnn` has them for such images, LiteRT's int8 is slower than its
# float32 (docs/compression.md).
NETS = """\
import tf_keras
from tf_keras import layers


def build_model(features, config):
    [image] = features
    inputs = tf_keras.Input(image.shape, name=image.name)
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(inputs)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    for units in config.model.hidden_units:
        x = layers.Dense(units, activation="relu")(x)
    x = layers.Dropout(config.model.dropout)(x)
    return tf_keras.Model({image.name: inputs}, layers.Dense(config.outputs, config.activation)(x))
"""

TABULAR_ASKED = [
    Asked("int8", "core bytes / float", 0.30),
    Asked("int8", "auc lost", 0.003),
    Asked("int8", "p50 / float", 1.0),
    Asked("prune_80", "auc lost", 0.003),
    Asked("prune_80", "core gzip / float", 0.35),
    Asked("student", "parameters / float", 0.25),
    Asked("student", "auc lost", 0.005),
]
IMAGE_ASKED = [
    Asked("int8", "core bytes / float", 0.27),
    Asked("int8", "accuracy lost", 0.005),
    Asked("int8", "batch of 32 / float", 1.0),
]


def _taxi(folder: Path) -> None:
    from tfx_pipeline.templates.copy import copy_template

    shutil.rmtree(folder)
    file = copy_template("taxi", folder)
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    config["compress"] = {"candidates": tabular_ladder([16, 8], 500)}
    file.write_text(yaml.safe_dump(_reported_only(config), sort_keys=False), encoding="utf-8")


def _adult(folder: Path) -> None:
    shutil.copyfile(SHARED / "adult.csv", folder / "adult.csv")
    columns: dict[str, Any] = {name: {"kind": "categorical"} for name in _ADULT_COLUMNS[:-1]}
    columns |= {name: {"kind": "numeric"} for name in _ADULT_NUMBERS}
    columns |= {name: {"kind": "numeric", "log": True} for name in _ADULT_LOGS}
    config = {
        "name": "adult",
        "data": {
            "path": "adult.csv",
            "column_names": _ADULT_COLUMNS,
            "strip_spaces": True,
            "missing_values": ["?"],
            "label": {"column": "income", "task": "binary", "classes": ["<=50K", ">50K"]},
        },
        "features": {"columns": columns},
        # AUC 0.9095; a network of half the width has 0.9071, and its int8 core 0.31 of the bytes.
        "model": {"hidden_units": [256, 128], "dropout": 0.2},
        "train": {"steps": 2000, "early_stopping": {"patience_epochs": 4}},
        "gates": {
            "quality": {
                "thresholds": [{"metric": "auc", "min": 0.9}],
                "slices": [["sex"], ["race"]],
            }
        },
        "compress": {"candidates": tabular_ladder([48, 24], 500)},
    }
    _write(folder, config)


def _digits(folder: Path) -> None:
    from sklearn.datasets import load_digits

    data = load_digits()
    _images(folder, "digits", data.images / 16.0, data.target, 16)


def _mnist(folder: Path) -> None:
    import numpy as np
    import tensorflow as tf

    images, digits = [], []
    for record in tf.data.TFRecordDataset(str(SHARED / "mnist_1000.tfrecord")).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        values = np.array(feature["image_floats"].float_list.value, np.float32)
        images.append((values - values.min()) / (values.max() - values.min()))
        digits.append(feature["image_class"].int64_list.value[0])
    _images(folder, "mnist", np.reshape(images, (-1, 28, 28)), np.array(digits), 28)


def _images(folder: Path, name: str, pixels: Any, digits: Any, size: int) -> None:
    """PNG files in a Parquet column, through `NETS`."""
    import numpy as np
    import pandas as pd
    import tensorflow as tf

    grey = np.round(255 * pixels).astype(np.uint8)[..., np.newaxis]
    encoded = [tf.io.encode_png(image).numpy() for image in grey]
    rows = pd.DataFrame({"image": encoded, "digit": [str(digit) for digit in digits]})
    rows.to_parquet(folder / "rows.parquet", index=False)
    (folder / "nets.py").write_text(NETS, encoding="utf-8")
    config = {
        "name": name,
        "data": {
            "path": "rows.parquet",
            "label": {
                "column": "digit",
                "task": "multiclass",
                "classes": [str(digit) for digit in range(10)],
            },
        },
        "features": {
            "columns": {
                "image": {"kind": "image", "height_px": size, "width_px": size, "channels": 1}
            }
        },
        "model": {"builder": "nets.py:build_model", "hidden_units": [128], "dropout": 0.3},
        "train": {"steps": 600, "batch_size": 64},
        "gates": {"quality": {"thresholds": [{"metric": "accuracy", "min": 0.85}]}},
        "compress": {
            "candidates": [
                {"method": "int8"},
                {"method": "int16x8"},
                {"method": "float16"},
                {"method": "qat", "steps": 200},
                {"method": "prune", "sparsity": 0.8, "steps": 300},
                {"method": "prune", "pattern": "2:4", "steps": 300},
                {"method": "cluster", "clusters": 16, "steps": 200},
                {"method": "int8", "of": "prune_80"},
            ]
        },
    }
    _write(folder, config)


def _write(folder: Path, config: dict[str, Any]) -> None:
    text = yaml.safe_dump(_reported_only(config), sort_keys=False)
    (folder / "pipeline.yaml").write_text(text, encoding="utf-8")


def _reported_only(config: dict[str, Any]) -> dict[str, Any]:
    """Every candidate is measured either way; a loss of half the metric refuses what is broken."""
    for threshold in config["gates"]["quality"]["thresholds"]:
        threshold.pop("max_regression", None)
    config["gates"]["quality"]["thresholds"][0]["max_drop"] = 0.5
    return config


DATA_SETS = {
    "taxi": DataSet("Chicago taxi, 15,002 rows", _taxi, TABULAR_ASKED),
    "adult": DataSet("Adult, 32,561 rows", _adult, TABULAR_ASKED, SHARED / "adult.csv"),
    "digits": DataSet("scikit-learn's digits, 1,797 images", _digits, IMAGE_ASKED),
    "mnist": DataSet("MNIST, 1,000 images", _mnist, IMAGE_ASKED, SHARED / "mnist_1000.tfrecord"),
}
